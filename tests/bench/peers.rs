//! l2vpn beside other VPNs that are installed: `cargo bench --bench peers`.
//!
//! Looks for fastd, tincd, openvpn, wireguard-go (with `wg`, carrying VXLAN) and vpncloud in the path, or where the variables
//! `FASTD`, `TINCD`, `OPENVPN`, `WIREGUARD_GO` and `VPNCLOUD` say; what is not there is left out. Debian has most of them:
//! `apt-get install fastd tinc openvpn wireguard-go wireguard-tools`. Each is configured as its own manual does it, for one
//! Ethernet between two hosts with an MTU of 1400 inside 1500, and gets the same TCP and the same pings.

#[path = "../support/peers.rs"]
mod adapters;
#[path = "../support/world.rs"]
mod world;

use std::process::{Command, ExitCode};

use l2vpn::io::{namespace, process};

const INSIDE: &str = "L2VPN_PEERS";

fn main() -> ExitCode {
    let outcome = match std::env::var_os(INSIDE) {
        Some(_) => adapters::compare(3),
        // `cargo test --all-targets` starts this too, without wanting figures.
        None if !std::env::args().any(|a| a == "--bench") => Ok(()),
        None => outside(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn outside() -> Result<(), String> {
    let isolation = namespace::available()?;
    let mut command = Command::new("/proc/self/exe");
    command.env(INSIDE, "1");
    let status = namespace::isolate(&mut command, isolation)
        .and_then(|c| process::die_with_parent(c).status())
        .map_err(|e| e.to_string())?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{status}")),
    }
}
