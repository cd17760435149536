//! What may be typed after `ca`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::super::args::Words;
use crate::wire::ethernet::Mac;

/// `ca`
#[derive(Debug, Group)]
pub struct CaArgs {
    /// What to do with an authority.
    #[command(subcommand)]
    pub verb: CaVerb,
}

/// The verbs of `ca`.
#[derive(Debug, Subcommand)]
pub enum CaVerb {
    /// Make an authority and its network, in a new directory
    Init(InitCa),
    /// Make a member that invites others: key, record, what it may sign, and a configuration
    Admin(AdminArgs),
    /// Let an admin sign for longer: give its delegation another time
    Delegate(DelegateArgs),
    /// Sign a record of a new member
    Sign(SignArgs),
    /// Give a member another record: for longer, with another key, or with other rights
    Renew(RenewArgs),
    /// Say that somebody is no member any more
    Revoke(RevokeArgs),
    /// Say that a key signs no more: an authority's that has a successor, or an admin's
    Retire(RetireArgs),
    /// List the members that have records
    List {
        /// The authority's directory
        dir: PathBuf,
    },
    /// Show what a record, a delegation, a list of revocations or a network's file says
    Show {
        /// The file
        file: PathBuf,
    },
    /// Write what members have to know of the network, for [network] file
    Export {
        /// The authority's directory
        dir: PathBuf,
        /// The file to make
        #[arg(short, long)]
        output: PathBuf,
    },
}

/// `ca init`
#[derive(Debug, Group)]
pub struct InitCa {
    /// The directory to make
    pub dir: PathBuf,
    /// What the network is called
    #[arg(long, default_value = "l2vpn")]
    pub name: String,
    /// The directory of an authority of this network: the new one is to take its place
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub successor_of: Option<PathBuf>,
    /// Leave the key in plain text: for tests, and for disks that are encrypted themselves
    #[arg(long)]
    pub no_passphrase: bool,
    /// Where its passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// What a record grants.
#[derive(Debug, Group)]
pub struct Grant {
    /// The id of a segment that it may take part in; may be given several times
    #[arg(long, value_name = "ID")]
    pub segment: Vec<u32>,
    /// VLANs that it may take part in, in each of them: 10, 20-29, untagged [default: all]
    #[arg(long, value_name = "VLAN", value_delimiter = ',')]
    pub vlan: Vec<String>,
    /// What it may do beside: relay, router, dhcp-server; admin is said of it by `ca admin`
    #[arg(long, value_parser = ["relay", "router", "dhcp-server"])]
    pub role: Vec<String>,
    /// How many MACs behind it the others remember [default: as many as of every member]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub mac_limit: Option<u16>,
    /// A MAC that may be behind it, and behind nobody else; may be given several times [default: all]
    #[arg(long, value_name = "MAC")]
    pub mac: Vec<Mac>,
    /// Addresses that its hosts may claim by ARP and neighbour discovery: 10.77.0.16/28; may be given several times [default: all]
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub prefix: Vec<(IpAddr, u8)>,
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    const FORM: &str = "an address, and the bits of it that count: 10.77.0.16/28";
    let (ip, bits) = text.split_once('/').ok_or(FORM)?;
    let ip: IpAddr = ip.parse().map_err(|_| FORM)?;
    let bits: u8 = bits.parse().map_err(|_| FORM)?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= longest).then_some((ip, bits)).ok_or(FORM.into())
}

/// `ca admin`
#[derive(Debug, Group)]
pub struct AdminArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// What the member is called
    #[arg(long)]
    pub name: String,
    /// A segment that it takes part in and invites into, with its id: lan=1; may be given several times
    #[arg(long, value_name = "NAME=ID", required = true)]
    pub segment: Vec<String>,
    /// VLANs, in each of them, of itself and of those that it invites: 10, 20-29, untagged [default: all]
    #[arg(long, value_name = "VLAN", value_delimiter = ',')]
    pub vlan: Vec<String>,
    /// What it may do beside: relay, router, dhcp-server
    #[arg(long, value_parser = ["relay", "router", "dhcp-server"])]
    pub role: Vec<String>,
    /// What those may do that it invites
    #[arg(long, value_parser = ["relay", "router", "dhcp-server"])]
    pub grant_role: Vec<String>,
    /// For how many days its records may hold
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub grant_days: u16,
    /// For how many days it may sign: its records count no longer than that
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub delegation_days: u32,
    /// For how many days its own record holds
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// The address of its host in the first segment, 10.77.0.1/24
    #[arg(long)]
    pub address: Option<String>,
    /// Where it is called [default: all addresses, port 7656]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The directory to make
    #[arg(short, long)]
    pub output: PathBuf,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `ca delegate`
#[derive(Debug, Group)]
pub struct DelegateArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// The file of the delegation that the admin has
    pub file: PathBuf,
    /// For how many days from now
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// The file to make, for [network] delegation
    #[arg(short, long)]
    pub output: PathBuf,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `ca sign`
#[derive(Debug, Group)]
pub struct SignArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// The member's public key, or a file with it
    pub key: String,
    /// What the member is called
    #[arg(long)]
    pub name: String,
    /// For how many days
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// What it may do.
    #[command(flatten)]
    pub grant: Grant,
    /// The file to make [default: print the record]
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `ca renew`
#[derive(Debug, Group)]
pub struct RenewArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// The member
    pub name: String,
    /// Its new public key [default: as before]
    #[arg(long)]
    pub key: Option<String>,
    /// No earlier record of it counts any more: for a key that was stolen, or for fewer rights. The list has to be given to a member,
    /// as with `revoke`
    #[arg(long)]
    pub revoke_earlier: bool,
    /// For how many days from now
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// What it may do; what is not given stays as before.
    #[command(flatten)]
    pub grant: Grant,
    /// The file to make [default: print the record]
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `ca revoke`
#[derive(Debug, Group)]
pub struct RevokeArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// The member: its name, the file of its record, or its id: admins' logs and `l2vpn show` name that
    pub member: String,
    /// Why, for the log
    #[arg(long)]
    pub reason: String,
    /// What it has signed as an admin still counts: for one that was not stolen
    #[arg(long)]
    pub keep_signed: bool,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}

/// `ca retire`
#[derive(Debug, Group)]
pub struct RetireArgs {
    /// The directory of the authority that says so
    pub dir: PathBuf,
    /// The key that signs no more, or the file of a delegation
    pub key: String,
    /// The directory of the authority that is retired: what it has revoked stays revoked
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Let those go who have records of it alone, and forget what it has revoked if no directory is named
    #[arg(long)]
    pub anyway: bool,
    /// Why, for the log
    #[arg(long)]
    pub reason: String,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}
