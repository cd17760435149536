//! The configuration that `l2vpn init` writes: short, commented, and valid as it stands.

use super::DEFAULT_PORT;

/// A first configuration for a member with this name; the key file lies beside it.
pub fn first_config(name: &str, key_file: &str) -> String {
    format!(
        r#"# l2vpn: this member. Check with `l2vpn check`, start with `l2vpn up`.
[node]
name = "{name}"
key = "{key_file}"                # this member's private key; keep it to yourself
listen = "[::]:{DEFAULT_PORT}"         # UDP, IPv4 and IPv6

# A segment is one Ethernet. Its id is the same on all members.
[[segment]]
name = "lan"
id = 1

# A port is a TAP of this host in a segment.
[[port]]
tap = "l2lan"
# addresses = ["10.77.0.1/24"]   # for this host on the segment
# bridge = "br0"                 # or: join a bridge, and stretch its LAN
# mode = "access"                # untagged frames of one VLAN (default: "trunk")
# vlan = 10

# One [[peer]] for each other member.
# [[peer]]
# name = "b"
# public_key = ""                # `l2vpn key public b.key` prints it there
# endpoints = ["b.example.net:{DEFAULT_PORT}"]  # leave out if it calls us
"#
    )
}

/// A first configuration for a relay.
pub fn first_relay(name: &str, key_file: &str) -> String {
    format!(
        r#"# l2vpn: this relay. Start with `l2vpn relay`; it needs no rights but its port.
[node]
name = "{name}"
key = "{key_file}"
listen = "[::]:{DEFAULT_PORT}"         # UDP
[admission]
members = []                     # public keys of those that may use it
"#
    )
}
