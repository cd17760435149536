//! Why a frame or a datagram went no further: one name and one counter for each reason.
//!
//! A bad packet from the network is not an error of ours: the core returns it as data, the counter goes up, and nobody
//! outside hears of it. `l2vpn show --json` prints every counter that is not zero under the names below.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// The reason that a frame or datagram was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u64)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The name used in `show` and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// A frame shorter than an Ethernet header.
    Runt => "runt-frame",
    /// A frame longer than any that the wire format can carry.
    Oversize => "oversize-frame",
    /// Offload information that does not fit its frame.
    BadOffload => "bad-offload",
    /// A VLAN tag that is cut off.
    TruncatedTag => "truncated-tag",
    /// VID 4095, which IEEE 802.1Q reserves.
    ReservedVid => "reserved-vid",
    /// A VLAN that the port does not carry.
    VlanNotAllowed => "vlan-not-allowed",
    /// A tagged frame on an access port.
    TaggedOnAccess => "tagged-on-access",
    /// An untagged frame on a trunk that lists its VLANs and has no native one.
    UntaggedOnTrunk => "untagged-on-trunk",
    /// A source MAC with the group bit.
    SourceIsGroup => "source-is-group",
    /// The source MAC 00:00:00:00:00:00.
    SourceIsZero => "source-is-zero",
    /// A peer's frame whose source is a MAC of one of our own ports.
    SourceIsOwn => "source-is-own",
    /// A source MAC that the configuration puts elsewhere.
    SourcePinned => "source-pinned",
    /// A source MAC that another member has advertised, where only that counts.
    SourceElsewhere => "source-elsewhere",
    /// One of our own datagrams that the host routes into the overlay.
    OwnDatagram => "own-datagram",
    /// The destination lives on the port that the frame came from.
    Hairpin => "hairpin",
    /// Nobody else is in this segment and VLAN now.
    NoDestination => "no-destination",
    /// More broadcasts than a peer or port may send in a VLAN.
    StormBroadcast => "storm-broadcast",
    /// More multicasts than a peer or port may send in a VLAN.
    StormMulticast => "storm-multicast",
    /// More frames for unknown hosts than a peer or port may send in a VLAN.
    StormUnknown => "storm-unknown",
    /// A frame for an unknown host in a segment that does not flood those.
    UnknownUnicast => "unknown-unicast",
    /// A DHCP server's message, from where no server may be.
    DhcpGuard => "dhcp-guard",
    /// A router advertisement, from where no router may be.
    RouterGuard => "router-guard",
    /// A frame that a guard cannot look into as far as hosts would.
    GuardUnclear => "guard-unclear",
    /// A question whose answer comes on the port that it came from.
    Suppressed => "suppressed",
    /// A frame between two isolated ports.
    Isolated => "isolated",
    /// A frame for or from a port that is closed because of a loop.
    PortBlocked => "port-blocked",
    /// A frame for the next bridge only (01:80:c2:00:00:00 to 0f) on a port that is one.
    LinkLocal => "link-local",
    /// A peer's frame for a segment without a port here.
    UnknownSegment => "unknown-segment",
    /// No session with the peer, and no way to make one.
    NoSession => "no-session",
    /// More frames waited for a session than its queue holds.
    StagedOverflow => "staged-overflow",
    /// The frame waited too long for a session.
    StagedExpired => "staged-expired",
    /// A datagram too short for its kind.
    Truncated => "truncated-datagram",
    /// A first byte that no kind uses.
    UnknownKind => "unknown-kind",
    /// Another protocol version.
    BadVersion => "bad-version",
    /// Reserved bits that are not zero.
    ReservedBits => "reserved-bits",
    /// mac1 does not prove knowledge of our public key.
    BadMac1 => "bad-mac1",
    /// Under load, and the sender has not proven its address yet (a cookie was sent or its limit reached).
    AddressUnproven => "address-unproven",
    /// Too many handshakes from this address prefix or for this peer.
    RateLimited => "rate-limited",
    /// A handshake message that does not decrypt or does not belong to a handshake of ours.
    HandshakeFailed => "handshake-failed",
    /// A valid handshake from a key that is not in the configuration.
    Stranger => "stranger",
    /// An initiation older than one seen before.
    Stale => "stale-initiation",
    /// No suite that both ends allow.
    NoCommonSuite => "no-common-suite",
    /// A handshake without a post-quantum secret, where one end requires it.
    NoPostQuantum => "no-post-quantum",
    /// The other end has other pre-shared keys, or one where we have none.
    PskMismatch => "psk-mismatch",
    /// A receiver index of no session of ours.
    UnknownIndex => "unknown-index",
    /// A counter already seen, or older than the window.
    Replay => "replay",
    /// The AEAD tag does not verify.
    AuthFailed => "auth-failed",
    /// The session is too old or has carried too many packets.
    SessionExpired => "session-expired",
    /// An authenticated message with a malformed body.
    MalformedInner => "malformed-inner",
    /// An authenticated message of a type that this version does not know.
    UnknownInner => "unknown-inner",
    /// A control element that this version does not know.
    UnknownControl => "unknown-control",
    /// A frame that would have to go through a relay, to a peer that frames must not be relayed to.
    NotRelayed => "not-relayed",
    /// A ticket that this relay has not made for that key, or whose time is over.
    TicketRefused => "ticket-refused",
    /// A member's record that is malformed, of another network or key, signed by no authority of ours, or older than one seen before.
    RecordRefused => "record-refused",
    /// A member's record whose time is over, or has not come: or a clock that is wrong.
    RecordNotNow => "record-not-now",
    /// A frame from a MAC that its member's record does not name, or that another's does.
    SourceNotGranted => "source-not-granted",
    /// A claim of an address that the member's record does not grant, or one that cannot be read.
    AddressNotGranted => "address-not-granted",
    /// A member, a record of it or an authority that was revoked.
    Revoked => "revoked",
    /// More than a relay may carry for one member, or for all.
    OverRate => "over-rate",
    /// More than one member may have waiting at a relay.
    RelayQueue => "relay-queue-full",
    /// A carrier whose ends know it by different names: somebody sits in the middle.
    CarrierBinding => "carrier-binding",
    /// A fragment that overlaps another or contradicts its frame.
    FragmentConflict => "fragment-conflict",
    /// A partial frame pushed out by newer ones.
    FragmentEvicted => "fragment-evicted",
    /// A partial frame whose rest did not come in time.
    FragmentExpired => "fragment-expired",
    /// A piece of a super-frame that is of no use without others that did not come.
    PieceOrphaned => "piece-orphaned",
    /// The control thread's queue was full.
    QueueFull => "queue-full",
    /// The kernel had no buffer for a send (ENOBUFS, EAGAIN).
    SendBufferFull => "send-buffer-full",
    /// The datagram was larger than the underlay takes (EMSGSIZE).
    SendTooLarge => "send-too-large",
    /// A firewall or policy refused the send (EPERM, EACCES).
    SendRefused => "send-refused",
    /// No route, or the underlay is down.
    SendUnreachable => "send-unreachable",
    /// The TAP is down or gone (EIO, EBADFD).
    PortDown => "port-down",
    /// The TAP refused the frame (EINVAL and others).
    PortRefused => "port-refused",
}

/// One counter for each [`DropReason`], shared by all threads of a member.
#[derive(Debug)]
pub struct Drops {
    counters: Box<[AtomicU64]>,
}

impl Default for Drops {
    fn default() -> Self {
        Drops {
            counters: DropReason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Drops {
    /// Counts one drop.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several drops of one kind.
    pub fn add(&self, reason: DropReason, many: u64) {
        if let Some(counter) = self.counters.get(reason as usize) {
            counter.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// How often this reason was met.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counters
            .get(reason as usize)
            .map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// All reasons that were met at least once, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|r| (*r, self.get(*r)))
            .filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let drops = Drops::default();
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            drops.add(*reason, i as u64 + 1);
        }
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(drops.get(*reason), i as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
