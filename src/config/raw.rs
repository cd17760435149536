//! What was written, as serde reads it: every value with its place, right or wrong.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands. A wrong type is kept as a message, so that the rest of the file is checked too.
#[derive(Debug)]
pub struct Field<T> {
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// The value, or what is wrong with it.
    pub value: Result<T, String>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<toml::Value>::deserialize(deserializer)?;
        Ok(Field {
            span: spanned.span(),
            value: spanned
                .into_inner()
                .try_into()
                .map_err(|e: toml::de::Error| e.message().to_string()),
        })
    }
}

/// A table, or the name of what stands in its place.
#[derive(Debug)]
pub enum Shape<T> {
    /// The expected shape.
    Right(T),
    /// Something else.
    Wrong(&'static str),
}

/// A table with its place.
pub type Section<T> = Spanned<Shape<T>>;
/// An array of tables with its place.
pub type Sections<T> = Spanned<Shape<Many<T>>>;

/// The tables of an array.
#[derive(Debug)]
pub struct Many<T>(pub Vec<Section<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shape<T>
where
    T: FromMapOrSeq<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

/// What a [`Shape`] is made from.
pub trait FromMapOrSeq<'de>: Sized {
    /// From a table, if it can be.
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Shape<Self>, A::Error>;
    /// From an array, if it can be.
    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Shape<Self>, A::Error>;
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: FromMapOrSeq<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = Shape<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::from_seq(seq)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Shape::Wrong("a string"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Shape::Wrong("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Shape::Wrong("a number"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Shape::Wrong("a boolean"))
    }
}

impl<'de, T: Deserialize<'de> + FromMapOrSeq<'de>> FromMapOrSeq<'de> for Many<T> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Shape<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Shape::Wrong("a single table"))
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Shape<Self>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            all.push(one);
        }
        Ok(Shape::Right(Many(all)))
    }
}

impl<'de, T: Deserialize<'de> + FromMapOrSeq<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Many)
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default, Deserialize)]
            #[serde(default)]
            pub struct $name { $($(#[$field_doc])* pub $field: Option<$type>,)* }

            impl $name {
                /// The keys that it knows.
                pub const KEYS: &'static [&'static str] = &[$(stringify!($field),)*];
            }

            impl<'de> FromMapOrSeq<'de> for $name {
                fn from_map<A: MapAccess<'de>>(map: A) -> Result<Shape<Self>, A::Error> {
                    Self::deserialize(MapAccessDeserializer::new(map)).map(Shape::Right)
                }

                fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Shape<Self>, A::Error> {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    Ok(Shape::Wrong("an array"))
                }
            }
        )*
    };
}

tables! {
    /// The whole file.
    RawConfig {
        /// The version of this format.
        config_version: Field<i64>,
        /// This member.
        node: Section<RawNode>,
        /// The segments.
        segment: Sections<RawSegment>,
        /// The ports.
        port: Sections<RawPort>,
        /// The peers.
        peer: Sections<RawPeer>,
        /// The relays that help to reach them.
        relay: Sections<RawRelay>,
        /// For whom this one relays.
        admission: Section<RawAdmission>,
        /// The network that it is in, if that has an authority.
        network: Section<RawNetwork>,
        /// The switch.
        switch: Section<RawSwitch>,
        /// How the member is controlled.
        control: Section<RawControl>,
    }
    /// `[node]`
    RawNode {
        /// What this member is called.
        name: Field<String>,
        /// The file of the private key.
        key: Field<String>,
        /// A program that prints the key, with its arguments.
        key_command: Field<Vec<String>>,
        /// For how long a key that was rotated is still good.
        key_overlap: Field<String>,
        /// The file of the pre-shared key of all members.
        network_psk_file: Field<String>,
        /// That of the one before, while members change.
        old_network_psk_file: Field<String>,
        /// Address and port, or a list with one for each carrier.
        listen: Field<toml::Value>,
        /// `on`, `tcp`, `segments` or `off`.
        offload: Field<String>,
        /// `auto` or a cipher's name.
        cipher: Field<String>,
        /// `off`, `prefer` or `require`.
        pq: Field<String>,
        /// Pairs of threads.
        workers: Field<i64>,
        /// Microseconds.
        busy_poll_us: Field<i64>,
        /// How old a session gets.
        rekey: Field<String>,
        /// `off` or `pcp`.
        dscp: Field<String>,
        /// Whether peers on the same LAN are looked for.
        lan_discovery: Field<bool>,
        /// Whether the router is asked for a port.
        port_mapping: Field<bool>,
        /// Whether many ports are opened to meet peers behind NATs that draw ports by dice.
        hard_nats: Field<bool>,
        /// Interfaces whose addresses are told to nobody.
        exclude_interfaces: Field<Vec<String>>,
    }
    /// `[[segment]]`
    RawSegment {
        /// Its name.
        name: Field<String>,
        /// Its number.
        id: Field<i64>,
        /// `flood` or `drop`.
        unknown_unicast: Field<String>,
        /// What only those with the role may offer: `dhcp-server`, `router`.
        guard: Field<Vec<String>>,
        /// Whether questions for known addresses are answered here.
        suppress_arp: Field<bool>,
        /// Whether multicast goes to those only that asked for it.
        snooping: Field<bool>,
    }
    /// `[[port]]`
    RawPort {
        /// The TAP's name.
        tap: Field<String>,
        /// The segment's name.
        segment: Field<String>,
        /// Bytes of the largest IP packet.
        mtu: Field<i64>,
        /// The TAP's MAC.
        mac: Field<String>,
        /// Addresses with prefix length.
        addresses: Field<Vec<String>>,
        /// The bridge to join.
        bridge: Field<String>,
        /// Whether the bridge is made when it is not there.
        create_bridge: Field<bool>,
        /// Whether its hosts reach none behind other isolated ports.
        isolated: Field<bool>,
        /// Whether it looks for loops; by default where it joins a bridge.
        loop_guard: Field<bool>,
        /// MACs that are behind it, whatever frames say.
        pinned: Field<Vec<String>>,
        /// `access` or `trunk`.
        mode: Field<String>,
        /// The VLAN of an access port.
        vlan: Field<i64>,
        /// The VLANs of a trunk: numbers and ranges.
        vlans: Field<Vec<toml::Value>>,
        /// The VLAN of a trunk's untagged frames.
        native: Field<i64>,
        /// Pairs of the port's and the network's VLANs, as `"10:110"`.
        translate: Field<Vec<toml::Value>>,
        /// `transparent` or `bridge`.
        link_local: Field<String>,
        /// What its hosts may offer where a guard is on: `dhcp-server`, `router`.
        roles: Field<Vec<String>>,
        /// `on`, `tcp`, `segments` or `off`; by default the member's.
        offload: Field<String>,
    }
    /// `[[peer]]`
    RawPeer {
        /// Its name.
        name: Field<String>,
        /// Its public key.
        public_key: Field<String>,
        /// The key that it had before, while it changes.
        accept_old: Field<String>,
        /// The file of the pre-shared key.
        psk_file: Field<String>,
        /// That of the one before, while the two change.
        old_psk_file: Field<String>,
        /// Addresses or names, each with a port.
        endpoints: Field<Vec<String>>,
        /// `allow`, `control-only` or `never`.
        relay: Field<String>,
        /// A time, or `off`.
        keepalive: Field<String>,
        /// Whether it is let in by its record alone.
        by_record: Field<bool>,
        /// Bytes of the path's largest IP packet.
        mtu: Field<i64>,
        /// The segments that it may take part in.
        segments: Field<Vec<String>>,
        /// The VLANs that it may take part in: numbers, ranges and `"untagged"`.
        vlans: Field<Vec<toml::Value>>,
        /// What its hosts may offer where a guard is on: `dhcp-server`, `router`.
        roles: Field<Vec<String>>,
        /// MACs that are behind it, whatever frames say.
        pinned: Field<Vec<String>>,
    }
    /// `[[relay]]`
    RawRelay {
        /// Its name.
        name: Field<String>,
        /// Its public key.
        public_key: Field<String>,
        /// The key that it had before, while it changes.
        accept_old: Field<String>,
        /// Addresses or names, each with a port.
        endpoints: Field<Vec<String>>,
        /// The relay's word that this member may use it.
        ticket: Field<String>,
    }
    /// `[admission]`
    RawAdmission {
        /// The public keys of those that may use it.
        members: Field<Vec<String>>,
        /// The file of the secret that tickets are made with.
        secret_file: Field<String>,
        /// Million bits a second that are carried for one member.
        rate: Field<i64>,
        /// The same for all together.
        total_rate: Field<i64>,
        /// The UDP port that members are seen from besides.
        second_port: Field<i64>,
    }
    /// `[network]`
    RawNetwork {
        /// The file that says what members have to know of it.
        file: Field<String>,
        /// The file of this member's record.
        record: Field<String>,
        /// The file that says who is revoked.
        revocations: Field<String>,
        /// What becomes of members whose record is over: `drop`, `grace 24h`, `warn`.
        on_expiry: Field<String>,
        /// The file of the key that an admin signs with.
        signer: Field<String>,
        /// The file of what it may sign.
        delegation: Field<String>,
    }
    /// `[switch]`
    RawSwitch {
        /// `data`, `advertised` or `both`.
        learning: Field<String>,
        /// How long a MAC is remembered.
        mac_age: Field<String>,
        /// How many MACs are remembered.
        mac_limit: Field<i64>,
        /// How many of one peer.
        mac_limit_per_peer: Field<i64>,
        /// Broadcasts in a second that a peer or port may send in a VLAN.
        storm_broadcast: Field<i64>,
        /// Multicasts in a second.
        storm_multicast: Field<i64>,
        /// Frames for unknown hosts in a second.
        storm_unknown: Field<i64>,
    }
    /// `[control]`
    RawControl {
        /// The control socket.
        socket: Field<String>,
        /// The directory for what survives a restart.
        state_dir: Field<String>,
    }
}

/// One step to a key: a table's key or an array's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key.
    Key(String),
    /// An index.
    Index(usize),
}

/// Reads a text; keys that no table knows are given as paths.
///
/// # Errors
/// A syntax error: nothing can be said about the rest then.
pub fn read(text: &str) -> Result<(RawConfig, Vec<Vec<Step>>), toml::de::Error> {
    let mut unknown = Vec::new();
    let deserializer = toml::Deserializer::parse(text)?;
    let raw = serde_ignored::deserialize(deserializer, |path| {
        unknown.extend(steps(&path));
    })?;
    Ok((raw, unknown))
}

/// The steps of a path; `None` when it leads into something that is no table of ours.
fn steps(path: &serde_ignored::Path<'_>) -> Option<Vec<Step>> {
    use serde_ignored::Path;
    let (parent, step) = match path {
        Path::Root => return Some(Vec::new()),
        Path::Seq { parent, index } => (parent, Some(Step::Index(*index))),
        Path::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut steps = steps(parent)?;
    // The reader of places asks for a value through keys of its own.
    steps.extend(step.filter(|s| !matches!(s, Step::Key(k) if k.starts_with("$__"))));
    Some(steps)
}

/// Where the keys at the ends of paths stand; `None` for paths that lead nowhere.
pub fn places_of(text: &str, paths: &[Vec<Step>]) -> Vec<Option<Range<usize>>> {
    let Ok(table) = DeTable::parse(text) else {
        return vec![None; paths.len()];
    };
    paths.iter().map(|p| place_of(table.get_ref(), p)).collect()
}

fn place_of(table: &DeTable<'_>, path: &[Step]) -> Option<Range<usize>> {
    let (last, parents) = path.split_last()?;
    let mut here = table;
    let mut list: Option<&[Spanned<DeValue<'_>>]> = None;
    for step in parents {
        let value = match (step, list.take()) {
            (Step::Key(key), None) => here.get(key.as_str())?.get_ref(),
            (Step::Index(i), Some(items)) => items.get(*i)?.get_ref(),
            _ => return None,
        };
        match value {
            DeValue::Table(table) => here = table,
            DeValue::Array(items) => list = Some(items),
            _ => return None,
        }
    }
    let Step::Key(last) = last else { return None };
    let (key, _) = here.get_key_value(last.as_str())?;
    Some(key.span())
}
