//! CONTROL: what the daemon and the command line tell each other, one JSON object a line over a unix socket.
//!
//! Objects only grow: a field is never removed or given another meaning within a version. `l2vpn show --json` prints a
//! [`Snapshot`] as it stands here.

mod changes;
mod invites;
mod secret;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use changes::{Changes, PeersChanged};
pub use invites::{InviteOrder, InviteView};
pub use secret::Secret;

/// The version of these objects.
pub const VERSION: u32 = 1;
/// The longest line either side reads, in bytes.
pub const MAX_LINE: u64 = 16 << 20;

/// What the command line asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of who asks.
    pub version: u32,
    /// What it wants.
    pub verb: Verb,
}

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// How is it?
    Show,
    /// Which MACs were learned, of those that fit all that is given?
    Macs(MacFilter),
    /// Forget learned MACs and addresses, those that fit all that is given.
    Flush(MacFilter),
    /// What is in the VLANs?
    Vlans,
    /// Which IP address has which MAC?
    Neighbors,
    /// How are peers reached, and where else may they be?
    Paths,
    /// What is known of the network that we are in?
    NetCheck,
    /// What happened after the event with this number?
    Events {
        /// The number; 0 for everything that is kept.
        after: u64,
    },
    /// Send an echo to a member.
    Ping {
        /// A peer's name, public key, or a MAC behind it.
        target: String,
        /// Bytes of payload.
        size: usize,
        /// How long to wait, in milliseconds.
        timeout_ms: u64,
        /// The VLAN in which a MAC is meant, as [`MacView::vlan`] has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<String>,
    },
    /// Invite somebody into the network.
    Invite(Box<InviteOrder>),
    /// Which invitations are there?
    Invites,
    /// Take back the invitations with this name or id.
    Uninvite(String),
    /// Read the configuration again and take up what has changed.
    Reload,
    /// The same, with the passphrase of the key that is in the file now.
    ReloadWith(Secret),
    /// Say goodbye and end.
    Down,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Verb::Show`].
    Snapshot(Box<Snapshot>),
    /// To [`Verb::Macs`].
    Macs(Vec<MacView>),
    /// To [`Verb::Flush`]: how many MACs were forgotten.
    Flushed(usize),
    /// To [`Verb::Vlans`].
    Vlans(Vec<VlanView>),
    /// To [`Verb::Neighbors`].
    Neighbors(Vec<NeighborView>),
    /// To [`Verb::Paths`].
    Paths(Vec<PathView>),
    /// To [`Verb::NetCheck`].
    Net(NetView),
    /// To [`Verb::Events`].
    Events(Vec<EventView>),
    /// To [`Verb::Ping`].
    Pong(Pong),
    /// To [`Verb::Reload`]: what was taken up.
    Reloaded(Changes),
    /// To [`Verb::Reload`]: why nothing was, with places and hints.
    Rejected(String),
    /// To [`Verb::Invite`]: its text, which is a secret.
    Invitation(Secret),
    /// To [`Verb::Invites`].
    Invites(Vec<InviteView>),
    /// To [`Verb::Uninvite`]: how many were taken back.
    Uninvited(usize),
    /// To [`Verb::Down`]: it is ending.
    Ending,
    /// The request cannot be met, and why.
    Error(String),
}

/// The answer to an echo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Which peer answered.
    pub peer: String,
    /// Its address.
    pub endpoint: String,
    /// The round trip, in microseconds; `None` when no answer came in time.
    pub rtt_us: Option<u64>,
    /// Bytes of payload that came back.
    pub size: usize,
}

/// A running member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// What the member is called.
    pub name: String,
    /// Its public key.
    pub public_key: String,
    /// The one before, while both are good.
    #[serde(default)]
    pub old_key: Option<OldKeyView>,
    /// The network that it is in.
    #[serde(default)]
    pub network: Option<NetworkView>,
    /// Its process id.
    pub pid: u32,
    /// For how long it has run, in seconds.
    pub uptime_s: u64,
    /// The address that it listens on.
    pub listen: String,
    /// Its worker threads.
    #[serde(default)]
    pub workers: usize,
    /// Whether the kernel takes and gives trains of datagrams: `both ways`, `out`, `in` or `neither`.
    #[serde(default)]
    pub trains: String,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// Its peers.
    pub peers: Vec<PeerView>,
    /// Channels that it relays.
    #[serde(default)]
    pub channels: usize,
    /// The forwarding table.
    pub table: TableView,
    /// Dropped frames and datagrams by reason; only reasons that were met.
    pub drops: BTreeMap<String, u64>,
}

/// The network of an authority that a member is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// What it is called.
    pub name: String,
    /// Which revocations are known; 0 for none.
    pub epoch: u64,
    /// Which of its records the member has.
    pub serial: Option<u64>,
    /// For how long that holds, in seconds; 0 when it does not.
    pub expires_s: Option<u64>,
}

/// The forwarding table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableView {
    /// MACs that are known now.
    pub entries: usize,
    /// The most that may be.
    pub limit: usize,
    /// How often a MAC has moved.
    pub moves: u64,
    /// How often one was forgotten because its place had too many.
    pub evictions: u64,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// The TAP.
    pub tap: String,
    /// The segment's name.
    pub segment: String,
    /// The segment's number.
    pub segment_id: u32,
    /// `trunk`, `access`, `qinq` or `translate`.
    pub mode: String,
    /// The VLANs it carries; empty for all; pairs of here and there where they are translated.
    pub vlans: String,
    /// The VLAN of untagged frames.
    pub native: Option<u16>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Its MAC.
    pub mac: String,
    /// The bridge that it joined.
    pub bridge: Option<String>,
    /// `open`, or `removed` when somebody has removed the TAP.
    pub state: String,
    /// Whether a peer of the segment is connected.
    pub carrier: bool,
    /// What is left to the kernel: `checksum`, `tcp`, `udp`.
    #[serde(default)]
    pub offloads: Vec<String>,
    /// Why something is not.
    #[serde(default)]
    pub offload_limits: Vec<String>,
    /// Queues of the TAP that are read.
    #[serde(default)]
    pub queues: usize,
    /// Frames that the kernel dropped because the TAP's queue was full.
    #[serde(default)]
    pub queue_drops: u64,
    /// What else it does, and what is wrong with it.
    #[serde(flatten)]
    pub manner: MannerView,
}

/// How a port behaves beside VLANs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MannerView {
    /// Whether its hosts reach none behind other isolated ports.
    #[serde(default)]
    pub isolated: bool,
    /// Whether it looks for loops.
    #[serde(default)]
    pub loop_guard: bool,
    /// Whether it is closed because of a loop.
    #[serde(default)]
    pub blocked: bool,
    /// What is wrong with its bridge.
    #[serde(default)]
    pub bridge_warnings: Vec<String>,
}

/// What protects a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecrecyView {
    /// The session's cipher.
    pub suite: Option<String>,
    /// What of its secret holds against quantum computers, too.
    #[serde(default)]
    pub post_quantum: Option<String>,
    /// How long ago the session began, in seconds.
    pub handshake_s: Option<u64>,
    /// Whose key before the last rotation it was made with, if any: `ours`, `its` or `both`.
    #[serde(default)]
    pub old_key: Option<String>,
}

/// A key that was rotated and is still good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKeyView {
    /// Its public half.
    pub public_key: String,
    /// For how long it is, in seconds.
    pub left_s: u64,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its name here.
    pub name: String,
    /// Its public key.
    pub public_key: String,
    /// What it is, and how it is reached.
    #[serde(flatten)]
    pub way: WayView,
    /// `up`, `connecting`, or `down`.
    pub state: String,
    /// Where it is, or was last; the relay's address when it is reached through one.
    pub endpoint: Option<String>,
    /// Addresses at which it is looked for.
    pub known: Vec<String>,
    /// What protects the session.
    #[serde(flatten)]
    pub secrecy: SecrecyView,
    /// For how long it has been connected, in seconds.
    pub up_s: Option<u64>,
    /// How long ago anything authentic was heard, in seconds.
    pub heard_s: Option<u64>,
    /// The path's MTU, in bytes of an IP packet.
    pub mtu: u16,
    /// How bulk travels to it.
    #[serde(flatten)]
    pub bulk: BulkView,
    /// The segments that it takes part in, by name, or number where it has none here.
    pub segments: Vec<String>,
    /// Its VLANs in those segments in which it does not take part in all, by the segment's name.
    #[serde(default)]
    pub vlans: BTreeMap<String, String>,
    /// MACs that were learned behind it.
    pub macs: usize,
    /// What passed.
    #[serde(flatten)]
    pub transfer: TransferView,
}

/// What a peer is, and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayView {
    /// `member`, `relay`, or `client`: one that this member relays for.
    #[serde(default)]
    pub kind: String,
    /// For how long its record holds, in seconds, when it was let in by one.
    #[serde(default)]
    pub record_s: Option<u64>,
    /// What it is known by in its network, whatever its key is, when it was let in by a record.
    #[serde(default)]
    pub member: Option<String>,
    /// The relay that it is reached through, by name.
    #[serde(default)]
    pub via: Option<String>,
    /// Why it is not reached directly, where it is not.
    #[serde(default)]
    pub why_relayed: Option<String>,
    /// Of a relay: datagrams of ours that were more than it carries.
    #[serde(default)]
    pub throttled: u64,
    /// Of a member that this one relays for: what was carried.
    #[serde(default)]
    pub carried: Option<CarriedView>,
    /// The smoothed round trip, in microseconds.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    /// For how long it has been reached on this way, in seconds.
    #[serde(default)]
    pub way_s: Option<u64>,
}

/// What a relay has carried for a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedView {
    /// Channels that it has.
    pub channels: usize,
    /// Datagrams from it.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Datagrams that were more than may be carried.
    pub over: u64,
}

/// A way to a peer, or a place where it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// To whom, by name.
    pub peer: String,
    /// `udp`, `quic`, `tls`, or the name of the relay that it leads through.
    pub by: String,
    /// The address; a relay's where the way leads through one.
    pub address: String,
    /// `in use`, `ready`, `asked` when nobody has answered there yet, or `known`.
    pub state: String,
    /// The smoothed round trip, in microseconds, of the way in use.
    pub rtt_us: Option<u64>,
    /// Lost packets in a million, of the way in use.
    pub loss_ppm: Option<u64>,
    /// The largest IP packet on the way in use, in bytes.
    pub mtu: Option<u16>,
    /// For how long it has been in use, in seconds.
    pub since_s: Option<u64>,
}

/// What a member knows of the network that it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetView {
    /// Whether UDP passes: `yes`, `no` when relays are reached by other carriers alone, or `unknown`.
    pub udp: String,
    /// The kind of NAT, in words.
    pub nat: String,
    /// Our own addresses.
    pub addresses: Vec<String>,
    /// The port of the router that leads to ours.
    #[serde(default)]
    pub mapped: Option<String>,
    /// The relays.
    pub relays: Vec<RelayView>,
}

/// A relay as a member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayView {
    /// Its name.
    pub name: String,
    /// `up`, `connecting` or `down`.
    pub state: String,
    /// Where it is reached.
    pub endpoint: Option<String>,
    /// The smoothed round trip, in microseconds.
    pub rtt_us: Option<u64>,
    /// The largest IP packet on the way to it that is known to pass, in bytes.
    pub mtu: Option<u16>,
    /// Where it sees us.
    pub observed: Option<String>,
    /// How many peers are reached through it.
    pub peers: usize,
}

/// What passed between two members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// Frames from it.
    pub rx_frames: u64,
    /// Bytes of these frames.
    pub rx_bytes: u64,
    /// Frames to it.
    pub tx_frames: u64,
    /// Bytes of these frames.
    pub tx_bytes: u64,
}

/// How bulk travels to a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkView {
    /// `whole` or `aligned` pieces of super-frames, or `packets`; `None` without a session.
    #[serde(default)]
    pub framing: Option<String>,
    /// Packets lost on the way, in a million, by the peer's last report.
    #[serde(default)]
    pub loss_ppm: u64,
}

/// A learned MAC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacView {
    /// The segment's name.
    pub segment: String,
    /// The VLAN, `-` for untagged frames.
    pub vlan: String,
    /// The MAC.
    pub mac: String,
    /// `port` or `peer`.
    pub kind: String,
    /// The port's TAP or the peer's name.
    pub place: String,
    /// How long ago it was heard, in seconds.
    pub idle_s: u64,
    /// How often it has moved.
    pub moves: u32,
    /// Whether it is held here, because it was heard in two places in turn.
    #[serde(default)]
    pub held: bool,
    /// Whether the configuration puts it here.
    #[serde(default)]
    pub pinned: bool,
    /// Whether the member here has told of it.
    #[serde(default)]
    pub told: bool,
}

/// Which MACs are meant: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacFilter {
    /// The segment's name.
    #[serde(default)]
    pub segment: Option<String>,
    /// The VLAN, as [`MacView::vlan`] has it.
    #[serde(default)]
    pub vlan: Option<String>,
    /// The peer's name.
    #[serde(default)]
    pub peer: Option<String>,
    /// The port's TAP.
    #[serde(default)]
    pub port: Option<String>,
}

/// A VLAN of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanView {
    /// The segment's name.
    pub segment: String,
    /// The VLAN, `-` for untagged frames, `s` before the number of a service VLAN.
    pub vlan: String,
    /// TAPs that carry it.
    pub ports: Vec<String>,
    /// Connected peers that carry it.
    pub peers: Vec<String>,
    /// MACs that are known in it.
    pub macs: usize,
    /// Multicast groups that somebody listens to in it.
    pub groups: usize,
    /// Where a multicast querier is, by name; without one, multicast goes to everybody.
    pub queriers: Vec<String>,
    /// Packets that came in by our ports.
    pub port_frames: u64,
    /// Their bytes.
    pub port_bytes: u64,
    /// Packets that came from peers.
    pub peer_frames: u64,
    /// Their bytes.
    pub peer_bytes: u64,
    /// Frames that went to everybody.
    pub floods: u64,
    /// Frames that were dropped.
    pub drops: u64,
}

/// A known IP address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborView {
    /// The segment's name.
    pub segment: String,
    /// The VLAN, `-` for untagged frames.
    pub vlan: String,
    /// The address.
    pub ip: String,
    /// Who has it.
    pub mac: String,
    /// `port` or `peer`.
    pub kind: String,
    /// The port's TAP or the peer's name.
    pub place: String,
    /// Whether the member there has told of it.
    pub told: bool,
    /// Whether it is a router, as IPv6 hosts tell.
    pub router: bool,
    /// How long ago it was heard or told, in seconds.
    pub idle_s: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// One more than that of the event before.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What kind: `peer-up`, `peer-down`, `peer-moved`, `peer-unreachable`, `mac-moved`, `mac-held`, `duplicate-ip`,
    /// `loop`, `loop-gone`, `rule-broken`.
    pub kind: String,
    /// What happened, for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_keep_their_form() {
        let ping = Request {
            version: VERSION,
            verb: Verb::Ping {
                target: "b".into(),
                size: 56,
                timeout_ms: 1000,
                vlan: None,
            },
        };
        let text = r#"{"version":1,"verb":{"ping":{"target":"b","size":56,"timeout_ms":1000}}}"#;
        assert_eq!(serde_json::to_string(&ping).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), ping);
        let show = r#"{"version":1,"verb":"show"}"#;
        assert_eq!(
            serde_json::from_str::<Request>(show).unwrap().verb,
            Verb::Show
        );
    }
}
