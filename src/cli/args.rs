//! What may be typed: the one source of parsing and help.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};

use super::ca::args::CaArgs;
use super::inviting::{InviteArgs, JoinArgs};
use crate::io::secrets::Asking;

/// An encrypted Layer-2 overlay VPN: one Ethernet between many hosts.
#[derive(Debug, Parser)]
#[command(
    name = "l2vpn",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 permission, \
                        5 no daemon, 6 degraded."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a first configuration and a key
    Init(InitArgs),
    /// Make and look at keys
    Key(KeyArgs),
    /// Run an authority: sign records of members, so that members need not list each other
    Ca(CaArgs),
    /// Invite machines into the network, at a running admin
    Invite(InviteArgs),
    /// Become a member by an invitation: make a key, get a record, write a configuration
    Join(JoinArgs),
    /// Check an audit log
    Audit(AuditArgs),
    /// Start this member, in the foreground
    Up(UpArgs),
    /// Start a relay, in the foreground: it carries what members send each other, and sees nothing of it
    Relay(RelayArgs),
    /// Say goodbye to all peers and end the running member
    Down(MemberArgs),
    /// Have the running member take up what has changed in its configuration
    Reload(ReloadArgs),
    /// Check a configuration and tell everything that is wrong with it
    Check(CheckArgs),
    /// Show the running member: ports, peers, drops
    Show(ShowArgs),
    /// Show the MACs that are known, or forget them
    Macs(MacsArgs),
    /// Show the VLANs: ports, peers, MACs, what passed
    Vlans(ShowArgs),
    /// Show which IP address has which MAC
    Neighbors(ShowArgs),
    /// Show how peers are reached, and where else they may be
    Paths(ShowArgs),
    /// Show what is known of the network: whether UDP passes, the kind of NAT, the relays
    Netcheck(ShowArgs),
    /// Print the running member's or relay's numbers for Prometheus
    Metrics(MetricsArgs),
    /// Show what happened: peers, moved and doubled MACs, loops, broken rules
    Events(EventsArgs),
    /// Ask a peer's daemon for an answer; needs no IP address
    Ping(PingArgs),
    /// Show it all working: three hosts, one Ethernet, on this machine
    Demo(DemoArgs),
    /// Measure this machine: bare, VXLAN and l2vpn side by side
    Bench(BenchArgs),
    /// Print the version and what this build can do
    Version(VersionArgs),
    /// A host of the laboratory
    #[command(name = crate::lab::network::HOST_VERB, hide = true)]
    LabHost,
}

/// `bench`
#[derive(Debug, Group)]
pub struct BenchArgs {
    /// How often everything is measured; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of each TCP test
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// What to measure: bare, vxlan, aes, chacha, segments, off; all but segments by default
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Bytes of the largest IP packet inside
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..))]
    pub mtu: u16,
    /// Bytes of the largest IP packet outside
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..))]
    pub underlay_mtu: u16,
    /// Pairs of worker threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub workers: u8,
    /// One stream of TCP over wires that lose so many per cent, instead of everything else
    #[arg(long, value_delimiter = ',')]
    pub loss: Vec<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The directory of the inner process
    #[arg(long, hide = true)]
    pub inside: Option<PathBuf>,
}

/// `init`
#[derive(Debug, Group)]
pub struct InitArgs {
    /// The configuration to write [default: /etc/l2vpn/config.toml for root, else in the user's
    /// configuration directory]
    pub config: Option<PathBuf>,
    /// What the member is called [default: the host's name]
    #[arg(long)]
    pub name: Option<String>,
}

/// `key`
#[derive(Debug, Group)]
pub struct KeyArgs {
    /// What to do with keys.
    #[command(subcommand)]
    pub verb: KeyVerb,
}

/// How a rotation goes on.
const ROTATE_HELP: &str = "\
How a rotation goes on, without a frame lost:
  1. `l2vpn reload` here. The member answers to both keys for 24 hours ([node] key_overlap).
  2. On each peer, at any time of these: public_key = \"NEW\" and accept_old = \"OLD\", then
     `l2vpn reload` there. At a relay: NEW beside OLD in members, or a new ticket.
  3. When the time is over, the member erases the old key. Take accept_old out of the peers then.
If the old key has been stolen: do not wait, and leave accept_old out. Erase FILE.old and reload.";

/// The verbs of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a private key; with -o into a file, and print its public key
    New {
        /// The file to make, readable by its owner only; an existing one is never touched
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Encrypt it with a passphrase, which is asked for
        #[arg(long, requires = "output")]
        encrypt: bool,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
    /// Print the public key of a private key
    Public {
        /// The private key's file, or "-" for stdin
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Make a pre-shared key, for a pair of members or for all of a network
    Psk {
        /// The file to make, readable by its owner only; an existing one is never touched
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Encrypt it with a passphrase, which is asked for: that of the member's own key, so that it is asked for once
        #[arg(long, requires = "output")]
        encrypt: bool,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
    /// Put a new private key in the place of another, and print its public key; both are good for a while
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// The file; the old key is put aside beside it, as FILE.old
        file: PathBuf,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
    /// Check a key's file: content, mode, owner; and the passphrase, when one is given
    Check {
        /// The file
        file: PathBuf,
        /// It holds a pre-shared key, which looks like a private one as long as it is not encrypted
        #[arg(long)]
        psk: bool,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
    /// Encrypt a key's file with a passphrase, which is asked for
    Encrypt {
        /// The file, which is replaced in one step
        file: PathBuf,
        /// It holds a pre-shared key, which looks like a private one as long as it is not encrypted
        #[arg(long)]
        psk: bool,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
    /// Give an encrypted key another passphrase
    Passphrase {
        /// The file, which is replaced in one step
        file: PathBuf,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
        /// Where the new one comes from.
        #[command(flatten)]
        new: NewWords,
    },
    /// Decrypt a key's file
    Decrypt {
        /// The file, which is replaced in one step
        file: PathBuf,
        /// Leave it as it is, and make this file
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Where its passphrase comes from.
        #[command(flatten)]
        words: Words,
    },
}

/// The new passphrase of a key.
#[derive(Clone, Copy, Debug, Group)]
pub struct NewWords {
    /// Read the new passphrase from this descriptor instead of asking for it
    #[arg(long, value_name = "N")]
    pub new_passphrase_fd: Option<u32>,
}

/// Where a passphrase comes from.
#[derive(Clone, Copy, Debug, Group)]
pub struct Words {
    /// Read the passphrase of an encrypted key from this descriptor instead of asking for it
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<u32>,
}

impl Words {
    /// Who is asked.
    pub(super) fn opener(self) -> Asking {
        Asking {
            descriptor: self.passphrase_fd,
            only_looks: false,
        }
    }

    /// The same, and no command is run.
    pub(super) fn looking(self) -> Asking {
        Asking {
            only_looks: true,
            ..self.opener()
        }
    }
}

/// `up`
#[derive(Debug, Group)]
pub struct UpArgs {
    /// The configuration [default: as `init` writes it]
    pub config: Option<PathBuf>,
    /// Check the configuration and do nothing
    #[arg(long)]
    pub check: bool,
    /// Print what would be done and do nothing
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,
    /// Where its passphrase comes from.
    #[command(flatten)]
    pub words: Words,
    /// Accept the published keys in keys/demo, for trying things out
    #[arg(long)]
    pub allow_demo_keys: bool,
    /// What to log: error, warn, info, debug, trace, or by target (info,l2vpn::node=debug)
    #[arg(long, env = "L2VPN_LOG", default_value = "info", value_name = "FILTER", value_parser = crate::daemon::log_filter)]
    pub log: String,
}

/// `relay`
#[derive(Debug, Group)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RelayArgs {
    /// What to do instead of starting it.
    #[command(subcommand)]
    pub verb: Option<RelayVerb>,
    /// The relay's configuration: its key and whom it admits
    #[arg(required = true)]
    pub config: Option<PathBuf>,
    /// Write a first configuration and a key, and do nothing else
    #[arg(long)]
    pub init: bool,
    /// Where its passphrase comes from.
    #[command(flatten)]
    pub words: Words,
    /// What to log: error, warn, info, debug, trace
    #[arg(long, env = "L2VPN_LOG", default_value = "info", value_name = "FILTER", value_parser = crate::daemon::log_filter)]
    pub log: String,
}

/// The verbs of `relay`.
#[derive(Debug, Subcommand)]
pub enum RelayVerb {
    /// Show for whom a running relay carries how much
    Show(ShowArgs),
    /// Make a ticket: who holds the key may use the relay for a time without being listed
    Ticket(TicketArgs),
}

/// `relay ticket`
#[derive(Debug, Group)]
pub struct TicketArgs {
    /// The public key of the member
    pub key: String,
    /// The file of the relay's secret, as `[admission] secret_file` names it
    #[arg(long, value_name = "FILE")]
    pub secret: PathBuf,
    /// For how many days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Where the secret's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `check`
#[derive(Debug, Group)]
pub struct CheckArgs {
    /// The configuration [default: as `init` writes it]
    pub config: Option<PathBuf>,
    /// Accept the published keys in keys/demo
    #[arg(long)]
    pub allow_demo_keys: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    /// Where its passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// Which running member.
#[derive(Debug, Group)]
pub struct MemberArgs {
    /// The running member: its name or its configuration [default: the only one]
    pub member: Option<String>,
    /// Its control socket
    #[arg(long, env = "L2VPN_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// `audit`
#[derive(Debug, Group)]
pub struct AuditArgs {
    /// What to do with a log.
    #[command(subcommand)]
    pub verb: AuditVerb,
}

/// The verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Follow a log from its first line to its last, and print the hash of that
    Verify {
        /// The log
        file: PathBuf,
    },
}

/// `reload`
#[derive(Debug, Group)]
pub struct ReloadArgs {
    /// Which.
    #[command(flatten)]
    pub which: MemberArgs,
    /// Where the passphrase of an encrypted key comes from that has changed.
    #[command(flatten)]
    pub words: Words,
}

/// `macs`
#[derive(Debug, Group)]
#[command(args_conflicts_with_subcommands = true)]
pub struct MacsArgs {
    /// What to do instead of showing them.
    #[command(subcommand)]
    pub verb: Option<MacsVerb>,
    /// Which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// The verbs of `macs`.
#[derive(Debug, Subcommand)]
pub enum MacsVerb {
    /// Forget MACs and the IP addresses that have them; what hosts and peers say afterwards counts
    Flush(FlushArgs),
}

/// `macs flush`
#[derive(Debug, Group)]
pub struct FlushArgs {
    /// Which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Which member.
    #[command(flatten)]
    pub member: MemberArgs,
}

/// Which MACs: those that fit all that is given.
#[derive(Debug, Group)]
pub struct FilterArgs {
    /// Only those in this segment
    #[arg(long)]
    pub segment: Option<String>,
    /// Only those in this VLAN: a number, s and a number for a service VLAN, or untagged
    #[arg(long)]
    pub vlan: Option<String>,
    /// Only those behind this peer
    #[arg(long)]
    pub peer: Option<String>,
    /// Only those behind this port of ours
    #[arg(long)]
    pub port: Option<String>,
}

/// `events`
#[derive(Debug, Group)]
pub struct EventsArgs {
    /// How.
    #[command(flatten)]
    pub show: ShowArgs,
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
}

/// `show` and its like
#[derive(Debug, Group)]
pub struct ShowArgs {
    /// Which member.
    #[command(flatten)]
    pub member: MemberArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `metrics`
#[derive(Debug, Group)]
pub struct MetricsArgs {
    /// Which member.
    #[command(flatten)]
    pub member: MemberArgs,
}

/// `ping`
#[derive(Debug, Group)]
pub struct PingArgs {
    /// A peer's name, public key, or a MAC behind it
    pub target: String,
    /// Which member.
    #[command(flatten)]
    pub member: MemberArgs,
    /// How often
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The VLAN in which a MAC is meant: a number, s and a number for a service VLAN, or untagged
    #[arg(long)]
    pub vlan: Option<String>,
    /// Bytes of payload, at most 1024
    #[arg(short, long, default_value_t = 56, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub size: u16,
    /// Milliseconds between two
    #[arg(short, long, default_value_t = 1000)]
    pub interval: u64,
    /// Milliseconds to wait for an answer, at most 20000
    #[arg(short, long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub timeout: u64,
    /// Print JSON, one object for each answer
    #[arg(long)]
    pub json: bool,
}

/// `demo`
#[derive(Debug, Group)]
pub struct DemoArgs {
    /// Leave it running, with a shell in host A; the end of the shell ends it
    #[arg(long)]
    pub keep: bool,
    /// The directory of the demonstration that is already isolated
    #[arg(long, hide = true)]
    pub inside: Option<PathBuf>,
}

/// `version`
#[derive(Debug, Group)]
pub struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
