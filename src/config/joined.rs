//! The configuration of a member of a network, as `l2vpn join` and `l2vpn ca admin` write it: valid as it stands.

use std::fmt::Write as _;

use super::DEFAULT_PORT;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::{Vid, VlanClass};
use crate::wire::vlans::VlanSet;

/// A member of a network; files lie beside the configuration.
pub struct NewMember<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The file of its key.
    pub key: &'a str,
    /// The network's file.
    pub network: &'a str,
    /// The file of its record.
    pub record: &'a str,
    /// The files of what it signs with, if it is an admin.
    pub signer: Option<(&'a str, &'a str)>,
    /// The file of the network's pre-shared key, if it has one.
    pub psk: Option<&'a str>,
    /// Where it is called.
    pub listen: Option<&'a str>,
    /// The segments that it takes part in.
    pub segments: &'a [NewSegment],
    /// Whether it relays for the others.
    pub relays: bool,
    /// Members that it knows from the beginning: what they are called here, their public keys, and where they are.
    pub knows: Vec<(String, String, Vec<String>)>,
}

/// A segment that a new member takes part in, by one port.
pub struct NewSegment {
    /// Its number.
    pub id: SegmentId,
    /// What it is called.
    pub name: String,
    /// The VLANs that its record grants.
    pub vlans: VlanSet,
    /// The address of its host in it; empty for none.
    pub address: String,
}

impl NewSegment {
    /// A TAP for it: 15 letters at most, as Linux has them.
    fn tap(&self) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = self.name.chars().filter(is_plain).take(13).collect();
        match name.is_empty() {
            true => format!("l2s{}", self.id),
            false => format!("l2{name}"),
        }
    }

    /// The VLAN that it is in, if that is one alone.
    fn only_vlan(&self) -> Option<Vid> {
        let mut vids = self.vlans.iter().filter_map(VlanClass::vid);
        let first = vids.next()?;
        let is_alone = !self.vlans.is_everything() && vids.all(|vid| vid == first);
        let has_untagged = self.vlans.contains(VlanClass::UNTAGGED);
        (is_alone && !has_untagged).then_some(first)
    }
}

impl NewMember<'_> {
    /// The text of its configuration.
    pub fn to_text(&self) -> String {
        let mut out = format!(
            "# l2vpn: this member of a network. Check with `l2vpn check`, start with `l2vpn up`.\n\
             [node]\nname = {}\nkey = {}\n",
            quoted(self.name),
            quoted(self.key)
        );
        if let Some(psk) = self.psk {
            let _ = writeln!(out, "network_psk_file = {}", quoted(psk));
        }
        let any = format!("[::]:{DEFAULT_PORT}");
        let listen = self.listen.unwrap_or(&any);
        let _ = write!(
            out,
            "listen = {}\n\n[network]\nfile = {}\nrecord = {}\n",
            quoted(listen),
            quoted(self.network),
            quoted(self.record)
        );
        if let Some((signer, delegation)) = self.signer {
            let _ = writeln!(
                out,
                "signer = {}              # `l2vpn invite create` signs by this\ndelegation = {}",
                quoted(signer),
                quoted(delegation)
            );
        }
        self.write_segments(&mut out);
        self.write_members(&mut out);
        out
    }

    fn write_segments(&self, out: &mut String) {
        for (n, segment) in self.segments.iter().enumerate() {
            let before = self.segments.iter().take(n);
            let is_taken = before.map(NewSegment::tap).any(|tap| tap == segment.tap());
            let tap = match is_taken {
                true => format!("l2s{}", segment.id),
                false => segment.tap(),
            };
            let (name, tap) = (quoted(&segment.name), quoted(&tap));
            let _ = write!(
                out,
                "\n[[segment]]\nname = {name}\nid = {}\n\n[[port]]\ntap = {tap}\nsegment = {name}\n",
                segment.id
            );
            if let Some(vlan) = segment.only_vlan() {
                let _ = writeln!(out, "mode = \"access\"\nvlan = {}", vlan.get());
            }
            if !segment.address.is_empty() {
                let _ = writeln!(out, "addresses = [{}]", quoted(&segment.address));
            }
        }
    }

    fn write_members(&self, out: &mut String) {
        if self.relays {
            out.push_str(
                "\n# It relays for the network's members, as its record says.\n[admission]\n",
            );
        }
        if !self.knows.is_empty() {
            out.push_str("\n# One member that is known is enough: it tells of the others.\n");
        }
        for (name, key, places) in &self.knows {
            let _ = write!(
                out,
                "[[peer]]\nname = {}\npublic_key = {}\n",
                quoted(name),
                quoted(key)
            );
            let places: Vec<String> = places.iter().map(|place| quoted(place)).collect();
            if !places.is_empty() {
                let _ = writeln!(out, "endpoints = [{}]", places.join(", "));
            }
            out.push_str("by_record = true              # its record says what it may do, and for how long\n");
        }
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
