//! What may be typed after `invite` and `join`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Subcommand};

use super::args::MemberArgs;
use crate::config::parse_duration;

/// `invite`
#[derive(Debug, Group)]
pub struct InviteArgs {
    /// What to do with invitations.
    #[command(subcommand)]
    pub verb: InviteVerb,
}

/// The verbs of `invite`.
#[derive(Debug, Subcommand)]
pub enum InviteVerb {
    /// Make an invitation, and print it: whoever has it can become a member
    Create(NewInvite),
    /// List the invitations and how often they were used
    List {
        /// The admin.
        #[command(flatten)]
        member: MemberArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take back an invitation; who has come by it stays a member
    Revoke {
        /// Its id, or the name that it is for
        named: String,
        /// The admin.
        #[command(flatten)]
        member: MemberArgs,
    },
}

/// `invite create`
#[derive(Debug, Group)]
pub struct NewInvite {
    /// What the new member is called; with several uses NAME-1, NAME-2, ...
    #[arg(long)]
    pub name: String,
    /// A segment that it takes part in, by name or id; may be given several times
    #[arg(long, required = true)]
    pub segment: Vec<String>,
    /// VLANs that it may take part in, in each of them: 10, 20-29, untagged [default: all]
    #[arg(long, value_name = "VLAN", value_delimiter = ',')]
    pub vlan: Vec<String>,
    /// What it may do beside: relay, router, dhcp-server
    #[arg(long, value_parser = ["relay", "router", "dhcp-server"])]
    pub role: Vec<String>,
    /// The address of its host in the first segment, 10.77.0.3/24
    #[arg(long)]
    pub address: Option<String>,
    /// For how many days its record holds; it is renewed by itself
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// For how long the invitation is good: 30m, 24h
    #[arg(long, default_value = "1h", value_parser = ttl)]
    pub ttl: Duration,
    /// How many machines may use it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub uses: u32,
    /// Where the new machine reaches this admin, HOST:PORT, or KEY@HOST:PORT for a relay of the network; may be given several times [default: the addresses of this host; relays are named besides]
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Vec<String>,
    /// Show it as a QR code, too
    #[arg(long)]
    pub qr: bool,
    /// The admin.
    #[command(flatten)]
    pub member: MemberArgs,
}

/// `join`
#[derive(Debug, Group)]
pub struct JoinArgs {
    /// The invitation [default: asked for, or read from stdin, where nobody else can read it]
    pub invitation: Option<String>,
    /// The configuration to write; key, record and network lie beside it [default: as `up` reads it]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the new member is called [default: all addresses, port 7656]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// How long to wait for the admin
    #[arg(long, default_value = "30s", value_parser = patience)]
    pub timeout: Duration,
}

fn ttl(text: &str) -> Result<Duration, String> {
    within(text, (60, 366 * 24 * 3600), "between 1m and 366d")
}

fn patience(text: &str) -> Result<Duration, String> {
    within(text, (1, 600), "between 1s and 10m")
}

fn within(text: &str, (least, most): (u64, u64), range: &str) -> Result<Duration, String> {
    let time = parse_duration(text).ok_or("write a number with a unit: 30s, 15m, 24h")?;
    match (least..=most).contains(&time.as_secs()) {
        true => Ok(time),
        false => Err(format!("it lies {range}")),
    }
}
