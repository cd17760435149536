//! Every kind of port, every kind of tag, both directions: what comes out, or why nothing does.

use l2vpn::switch::port::PortRule;
use l2vpn::switch::translation::VidMap;
use l2vpn::wire::ethernet::Frame;
use l2vpn::wire::vlan::Vid;

/// A kind of port, and for each frame what it becomes on the way in and on the way out. Tags are written outermost first,
/// `C` for 0x8100, `S` for 0x88a8, `Q` for 0x9100, then the VID, `p` with the priority, `d` for the drop eligible bit;
/// `-` is a frame without tags. Everything else is the name of a drop reason.
type Row = (&'static str, &'static str, &'static str);

const NOT_ALLOWED: &str = "vlan-not-allowed";
const ON_ACCESS: &str = "tagged-on-access";
const ON_TRUNK: &str = "untagged-on-trunk";
const CUT_OFF: &str = "truncated-tag";
const RESERVED: &str = "reserved-vid";
const SAME: &str = "=";

const ACCESS: &[Row] = &[
    ("-", "C10", NOT_ALLOWED),
    ("C0p5d", "C10p5d", NOT_ALLOWED),
    ("C10", ON_ACCESS, "-"),
    ("C10p5d", ON_ACCESS, "-"),
    ("C30", ON_ACCESS, NOT_ALLOWED),
    ("C10 C30", ON_ACCESS, NOT_ALLOWED),
    ("C0 C30", ON_ACCESS, NOT_ALLOWED),
    ("S10", ON_ACCESS, NOT_ALLOWED),
    ("S100 C10", ON_ACCESS, NOT_ALLOWED),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", ON_ACCESS, NOT_ALLOWED),
    ("C4095", RESERVED, RESERVED),
];

const TRUNK: &[Row] = &[
    ("-", ON_TRUNK, ON_TRUNK),
    ("C0p5", ON_TRUNK, ON_TRUNK),
    ("C10p7d", SAME, SAME),
    ("C30", NOT_ALLOWED, NOT_ALLOWED),
    ("C10 C30", SAME, SAME),
    ("C30 C10", NOT_ALLOWED, NOT_ALLOWED),
    ("C0 C10", ON_TRUNK, ON_TRUNK),
    ("S10 C30", SAME, SAME),
    ("Q20p1 C30", SAME, SAME),
    ("S100 C10", NOT_ALLOWED, NOT_ALLOWED),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", NOT_ALLOWED, NOT_ALLOWED),
    ("C4095", RESERVED, RESERVED),
];

const NATIVE: &[Row] = &[
    ("-", "C10", ON_TRUNK),
    ("C0p5d", "C10p5d", ON_TRUNK),
    ("C10p3", SAME, "-"),
    ("C20p3", SAME, SAME),
    ("C30", NOT_ALLOWED, NOT_ALLOWED),
    ("C10 C20", NOT_ALLOWED, NOT_ALLOWED),
    ("C0 C20", NOT_ALLOWED, ON_TRUNK),
    ("S10 C20", SAME, SAME),
    ("S100 C20", NOT_ALLOWED, NOT_ALLOWED),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", NOT_ALLOWED, NOT_ALLOWED),
    ("C4095", RESERVED, RESERVED),
];

const TRANSPARENT: &[Row] = &[
    ("-", SAME, SAME),
    ("C0p5d", SAME, SAME),
    ("C10p7d", SAME, SAME),
    ("C10 C20", SAME, SAME),
    ("S100p2d C30p6", SAME, SAME),
    ("Q100 Q200 C30", SAME, SAME),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", SAME, SAME),
    ("C4095", RESERVED, RESERVED),
];

const QINQ: &[Row] = &[
    ("-", "S100", NOT_ALLOWED),
    ("C0p5d", "S100p5d C0p5d", NOT_ALLOWED),
    ("C10p3", "S100p3 C10p3", NOT_ALLOWED),
    ("C100", "S100 C100", NOT_ALLOWED),
    ("C30 C10", "S100 C30 C10", NOT_ALLOWED),
    ("S100", "S100 S100", "-"),
    ("S100p3 C10p3", "S100p3 S100p3 C10p3", "C10p3"),
    ("Q100 C30", "S100 Q100 C30", "C30"),
    ("S100 C0p5", "S100 S100 C0p5", "C0p5"),
    ("S200 C10", "S100 S200 C10", NOT_ALLOWED),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", "S100 C4094", NOT_ALLOWED),
    ("C4095", RESERVED, RESERVED),
];

const TRANSLATE: &[Row] = &[
    ("-", ON_TRUNK, ON_TRUNK),
    ("C0p5", ON_TRUNK, ON_TRUNK),
    ("C10p6d", "C110p6d", "C20p6d"),
    ("C20", "C10", NOT_ALLOWED),
    ("C110p6d", NOT_ALLOWED, "C10p6d"),
    ("C30", NOT_ALLOWED, NOT_ALLOWED),
    ("C10 C20", "C110 C20", "C20 C20"),
    ("S10 C10", NOT_ALLOWED, NOT_ALLOWED),
    ("S110 C10", NOT_ALLOWED, NOT_ALLOWED),
    ("C10!", CUT_OFF, CUT_OFF),
    ("C4094", NOT_ALLOWED, NOT_ALLOWED),
    ("C4095", RESERVED, RESERVED),
];

fn vid(n: u16) -> Vid {
    Vid::new(n).unwrap()
}

fn frame(tags: &str) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let (tags, cut) = match tags.strip_suffix('!') {
        Some(tags) => (tags, true),
        None => (tags, false),
    };
    for tag in tags.split(' ').filter(|t| *t != "-") {
        let (kind, rest) = tag.split_at(1);
        let (rest, dei) = match rest.strip_suffix('d') {
            Some(rest) => (rest, 0x1000),
            None => (rest, 0),
        };
        let (vid, pcp) = rest.split_once('p').unwrap_or((rest, "0"));
        let tpid: u16 = match kind {
            "C" => 0x8100,
            "S" => 0x88a8,
            _ => 0x9100,
        };
        let tci = vid.parse::<u16>().unwrap() | pcp.parse::<u16>().unwrap() << 13 | dei;
        bytes.extend_from_slice(&tpid.to_be_bytes());
        bytes.extend_from_slice(&tci.to_be_bytes());
    }
    if !cut {
        bytes.extend_from_slice(&[8, 0, 1, 2, 3]);
    }
    bytes
}

/// What a frame becomes; the name of the reason when it is dropped.
fn through(rule: &PortRule, is_ingress: bool, tags: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = frame(tags);
    let parts = Frame::parse(&bytes).map_err(|r| r.name())?.parts;
    let out = match is_ingress {
        true => rule.ingress(parts),
        false => rule.egress(parts),
    };
    let mut written = Vec::new();
    let out = out.map_err(|r| r.name())?;
    out.write(&mut written);
    assert_eq!(written.len(), out.len());
    Ok(written)
}

#[test]
fn every_cell() {
    let trunk = |native| PortRule::Trunk {
        allowed: Some([vid(10), vid(20)].into_iter().collect()),
        native,
    };
    let mut map = VidMap::default();
    assert!(map.insert(vid(10), vid(110)) && map.insert(vid(20), vid(10)));
    let kinds = [
        (PortRule::Access(vid(10)), ACCESS),
        (trunk(None), TRUNK),
        (trunk(Some(vid(10))), NATIVE),
        (PortRule::TRANSPARENT, TRANSPARENT),
        (PortRule::Qinq(vid(100)), QINQ),
        (PortRule::Translate(map), TRANSLATE),
    ];
    let mut cells = 0;
    for (rule, rows) in &kinds {
        for (tags, ingress, egress) in *rows {
            for (is_ingress, expected) in [(true, ingress), (false, egress)] {
                let got = through(rule, is_ingress, tags);
                let expected = match *expected {
                    SAME => Ok(frame(tags)),
                    text if text.starts_with(['-', 'C', 'S', 'Q']) => Ok(frame(text)),
                    reason => Err(reason),
                };
                assert_eq!(got, expected, "{rule:?} {tags} in: {is_ingress}");
                cells += 1;
            }
        }
    }
    assert!(cells >= 120, "{cells}");
}

/// Whatever a port takes, it gives back as it was, but for the tag that says its native or access VLAN.
#[test]
fn what_goes_in_comes_out() {
    let mut map = VidMap::default();
    map.insert(vid(10), vid(110));
    for rule in [
        PortRule::TRANSPARENT,
        PortRule::Qinq(vid(7)),
        PortRule::Translate(map),
    ] {
        for tags in [
            "-",
            "C0p5d",
            "C10p5d",
            "C10 C20",
            "S10 C20 C30",
            "Q9p1",
            "C4094",
        ] {
            let Ok(canonical) = through(&rule, true, tags) else {
                continue;
            };
            let parts = Frame::parse(&canonical).unwrap().parts;
            let mut back = Vec::new();
            rule.egress(parts).unwrap().write(&mut back);
            assert_eq!(back, frame(tags), "{rule:?} {tags}");
        }
    }
}
