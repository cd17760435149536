//! What may be typed after `ca`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::super::args::Words;
use super::super::exit::{Exit, Failure};
use crate::wire::vlan::{Vid, VlanClass};
use crate::wire::vlans::{VidSet, VlanSet};

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
    /// Sign a record of a new member
    Sign(SignArgs),
    /// Give a member another record: for longer, with another key, or with other rights
    Renew(RenewArgs),
    /// Say that somebody is no member any more
    Revoke(RevokeArgs),
    /// List the members that have records
    List {
        /// The authority's directory
        dir: PathBuf,
    },
    /// Show what a record, a list of revocations or a network's file says
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
    /// What it may do beside: relay, router, dhcp-server
    #[arg(long, value_parser = ["relay", "router", "dhcp-server"])]
    pub role: Vec<String>,
}

impl Grant {
    pub(super) fn vlans(&self) -> Result<VlanSet, Failure> {
        let mut list = VidSet::default();
        let mut has_untagged = false;
        for text in &self.vlan {
            if text == "untagged" {
                has_untagged = true;
                continue;
            }
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let vid = |text: &str| text.parse().ok().and_then(Vid::new);
            let (Some(first), Some(last)) = (vid(first), vid(last)) else {
                let message = format!("\"{}\" is no VLAN or range of VLANs", text.escape_debug());
                return Err(Failure::with(
                    Exit::Config,
                    message,
                    "10, 20-29 or untagged",
                ));
            };
            (first.get()..=last.get())
                .filter_map(Vid::new)
                .for_each(|v| list.insert(v));
        }
        let set = VlanSet::of_list(&list);
        Ok(match has_untagged {
            true => set.with(VlanClass::UNTAGGED),
            false => set,
        })
    }
}

/// `ca sign`
#[derive(Debug, Group)]
pub struct SignArgs {
    /// The authority's directory
    pub dir: PathBuf,
    /// The member's public key
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
    /// The member
    pub name: String,
    /// Why, for the log
    #[arg(long)]
    pub reason: String,
    /// Where the authority's passphrase comes from.
    #[command(flatten)]
    pub words: Words,
}
