//! `join`: from an invitation to a configuration that works, or nothing at all.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::check::config_path;
use super::exit::{Exit, Failure};
use super::inviting::JoinArgs;
use super::render::{print, say, span};
use crate::config::joined::{NewMember, NewSegment};
use crate::config::{DemoKeys, Word, load_with};
use crate::daemon::{self, Given, JoinError};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{self, Armor, NetworkFile, Nobody, PrivateKey, Psk, PublicKey, Stored};
use crate::trust::invitation;
use crate::trust::{Invitation, Realm};
use crate::wire::asking::{Ask, NotGiven, read_segment_notes};
use crate::wire::proof::Proof;
use crate::wire::record::{Record, Roles};

/// Letters of the longest text that is read.
const MAX_TEXT: u64 = 8192;

pub(super) fn run(args: &JoinArgs) -> Result<Exit, Failure> {
    let text = invitation_text(args)?;
    let invitation = Invitation::from_text(&text).map_err(|error| {
        let hint = "`l2vpn invite create` prints it, in one line";
        Failure::with(Exit::Config, error.to_string(), hint)
    })?;
    let now = clock::wall().as_secs();
    if now >= invitation.until {
        let ago = span(now - invitation.until);
        let message = format!("the invitation's time was over {ago} ago, by this machine's clock");
        return Err(Failure::with(Exit::Failed, message, "ask for another one"));
    }
    let files = Files::beside(config_path(args.config.as_ref()))?;
    let key = files.key()?;
    let given = call(&files, (args, &invitation))?;
    let (record, network) = check(&given, &invitation, &key)?;
    let text = files.config_text(args, (&given, &record), &invitation)?;
    files.write(&given, &text)?;
    print(&format!(
        "joined network {} as {}: wrote {}\nnext: l2vpn up {}\n",
        network.name,
        record.name,
        files.config.display(),
        files.config.display()
    ))?;
    Ok(Exit::Ok)
}

/// The invitation: as it was typed, or from stdin, since command lines are everybody's to read.
fn invitation_text(args: &JoinArgs) -> Result<Zeroizing<String>, Failure> {
    if let Some(text) = args.invitation.as_ref().filter(|text| *text != "-") {
        say(
            "l2vpn: others on this machine can read what is typed behind a command; `l2vpn join` alone asks for it\n",
        );
        return Ok(Zeroizing::new(text.clone()));
    }
    let mut text = Zeroizing::new(String::new());
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        say("the invitation: ");
        stdin.read_line(&mut text)?;
    } else {
        stdin.lock().take(MAX_TEXT).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Where everything goes.
struct Files {
    dir: PathBuf,
    config: PathBuf,
    stem: String,
}

impl Files {
    fn beside(config: PathBuf) -> Result<Files, Failure> {
        if config.exists() {
            let message = format!("{} exists already; it is left as it is", config.display());
            let hint = "name another file with --config";
            return Err(Failure::with(Exit::Failed, message, hint));
        }
        let dir = match config.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let stem = config.file_stem().and_then(|s| s.to_str());
        let stem = stem.unwrap_or("member").to_string();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| Failure::failed(format!("{}: {e}", dir.display())))?;
        Ok(Files { dir, config, stem })
    }

    fn named(&self, kind: &str) -> String {
        format!("{}.{kind}", self.stem)
    }

    /// The key that this machine makes itself: once, so that asking again is asking for the same.
    fn key(&self) -> Result<PrivateKey, Failure> {
        let file = self.dir.join(self.named("key"));
        if file.exists() {
            return match keys::read_stored(&file)? {
                Stored::Plain(key) => Ok(key),
                Stored::Sealed(_) => {
                    let message = format!("{} is there already, and encrypted", file.display());
                    let hint = "name another file with --config";
                    Err(Failure::with(Exit::Failed, message, hint))
                }
            };
        }
        let key = PrivateKey::generate(&mut OsEntropy);
        keys::write_private(&file, &key)?;
        Ok(key)
    }

    fn config_text(
        &self,
        args: &JoinArgs,
        (given, record): (&Given, &Record),
        invitation: &Invitation,
    ) -> Result<String, Failure> {
        let notes = read_segment_notes(&given.segments).ok_or_else(nonsense)?;
        let segments = record.segments.iter().map(|(id, vlans)| {
            let note = notes.iter().find(|note| note.id == *id);
            NewSegment {
                id: *id,
                name: note.map_or(format!("segment-{id}"), |n| n.name.clone()),
                vlans: vlans.clone(),
                address: note.map_or(String::new(), |n| n.address.clone()),
            }
        });
        let segments: Vec<NewSegment> = segments.collect();
        Ok(NewMember {
            name: &record.name,
            key: &self.named("key"),
            network: &self.named("network"),
            record: &self.named("record"),
            signer: None,
            psk: (!given.psk.is_empty()).then_some(&*self.named("psk")),
            listen: args.listen.as_deref(),
            segments: &segments,
            relays: record.roles.has(Roles::RELAY),
            knows: Places::of(invitation).members(invitation),
        }
        .to_text())
    }

    /// Writes it all; the configuration last, since with it there is a member.
    fn write(&self, given: &Given, config: &str) -> Result<(), Failure> {
        let record = Armor::Record.to_text(&given.record);
        let files = [
            (self.named("network"), &given.network[..]),
            (self.named("record"), record.as_bytes()),
        ];
        for (name, bytes) in files {
            let file = self.text_file(bytes)?;
            file.persist(self.dir.join(&name))
                .map_err(|e| Failure::failed(format!("{name}: {}", e.error)))?;
        }
        self.write_psk(given)?;
        let file = self.text_file(config.as_bytes())?;
        file.persist_noclobber(&self.config)
            .map_err(|e| Failure::failed(format!("{}: {}", self.config.display(), e.error)))?;
        // What was written has to be what `up` takes.
        let (config, report) = load_with(&self.config, DemoKeys::Allow, &mut Nobody);
        match config {
            Some(_) => Ok(()),
            None => {
                let _ = fs::remove_file(&self.config);
                Err(Failure::config(&report))
            }
        }
    }

    /// The network's pre-shared key, where it has one: as other members have it, and readable by its owner only.
    fn write_psk(&self, given: &Given) -> Result<(), Failure> {
        let Ok(psk) = <[u8; 32]>::try_from(&given.psk[..]) else {
            return Ok(());
        };
        let psk = Psk::from_bytes(psk);
        let file = self.dir.join(self.named("psk"));
        let is_there = keys::read_psk(&file).is_ok_and(|known| known.expose() == psk.expose());
        match is_there {
            true => Ok(()),
            false => Ok(keys::write_psk(&file, &psk)?),
        }
    }

    fn text_file(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile, Failure> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// Asks the admin, as a member without ports.
fn call(files: &Files, (args, invitation): (&JoinArgs, &Invitation)) -> Result<Given, Failure> {
    let dir = tempfile::tempdir()?;
    let psk = dir.path().join("invitation.psk");
    keys::write_psk(&psk, &invitation.psk())?;
    let config = dir.path().join("join.toml");
    fs::write(&config, joining_config(files, invitation)?)?;
    let (config, report) = load_with(&config, DemoKeys::Allow, &mut Nobody);
    let Some(mut config) = config else {
        return Err(Failure::config(&report));
    };
    for peer in &mut config.peers {
        peer.word = Word::Invite(invitation.id);
    }
    let ask = Ask::Join(invitation.network, invitation.id);
    let patience = args.timeout;
    daemon::join(config, ask, patience, "warn").map_err(|error| explain(error, invitation))
}

fn joining_config(files: &Files, invitation: &Invitation) -> Result<String, Failure> {
    let key = files.dir.join(files.named("key")).canonicalize()?;
    let key = toml::Value::from(key.to_string_lossy().as_ref());
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let places = Places::of(invitation);
    let direct: Vec<String> = places.direct.iter().map(|place| quoted(place)).collect();
    let relays: String = places
        .relays
        .iter()
        .map(|(key, at)| {
            let at: Vec<String> = at.iter().map(|at| quoted(at)).collect();
            let at = at.join(", ");
            format!("[[relay]]\npublic_key = \"{key}\"\nendpoints = [{at}]\n")
        })
        .collect();
    let endpoints = match direct.is_empty() {
        true => String::new(),
        false => format!("endpoints = [{}]\n", direct.join(", ")),
    };
    Ok(format!(
        "[node]\nname = \"join\"\nkey = {key}\nlisten = \"[::]:0\"\nlan_discovery = false\n\
         [control]\nsocket = \"join.sock\"\nstate_dir = \".\"\n\
         [[peer]]\nname = \"admin\"\npublic_key = \"{}\"\npsk_file = \"invitation.psk\"\n{endpoints}{relays}",
        invitation.admin,
    ))
}

/// A relay may be named with several addresses.
fn by_key(
    mut known: Vec<(PublicKey, Vec<String>)>,
    (key, at): (PublicKey, String),
) -> Vec<(PublicKey, Vec<String>)> {
    match known.iter_mut().find(|(k, _)| *k == key) {
        Some((_, places)) => places.push(at),
        None => known.push((key, vec![at])),
    }
    known
}

/// Where an invitation says to go.
struct Places {
    /// To the admin itself.
    direct: Vec<String>,
    /// To relays, by which it may be reached.
    relays: Vec<(PublicKey, Vec<String>)>,
}

impl Places {
    fn of(invitation: &Invitation) -> Places {
        let relay = |place: &String| {
            let (key, at) = invitation::relay_of(place)?;
            Some((key, at.to_string()))
        };
        let places = invitation.places.iter();
        Places {
            direct: places
                .clone()
                .filter(|p| relay(p).is_none())
                .cloned()
                .collect(),
            relays: places.filter_map(relay).fold(Vec::new(), by_key),
        }
    }

    /// What a member knows from the beginning: its admin, and the relays, which are members, too.
    fn members(self, invitation: &Invitation) -> Vec<(String, String, Vec<String>)> {
        let admin = ("admin".into(), invitation.admin.to_string(), self.direct);
        let relays = self.relays.into_iter().enumerate();
        let relays = relays.map(|(n, (key, at))| (format!("relay{}", n + 1), key.to_string(), at));
        std::iter::once(admin).chain(relays).collect()
    }
}

fn explain(error: JoinError, invitation: &Invitation) -> Failure {
    let places = invitation.places.join(", ");
    let (message, hint) = match error {
        JoinError::Start(error) => return error.into(),
        JoinError::Silent => (
            format!("nobody answers at {places}"),
            "is the admin running, and may UDP pass to there? It is silent, too, to an invitation that it has not made",
        ),
        JoinError::HalfSilent => (
            format!("the admin at {places} is there, but gave nothing in time"),
            "try again: the same machine gets the same record",
        ),
        JoinError::Refused(why) => (
            match why {
                NotGiven::Used => "the invitation has been used as often as it may be",
                NotGiven::Expired => "the invitation's time is over, by the admin's clock",
                NotGiven::Withdrawn => "the invitation was taken back",
                NotGiven::OtherNetwork => "the invitation is for another network than the admin's",
                NotGiven::CannotSign => {
                    "the admin cannot sign such a record: its log says why (`l2vpn events`)"
                }
                NotGiven::NotYou => "the admin knows this machine's key as another member's",
            }
            .to_string(),
            "ask for another one",
        ),
    };
    Failure::with(Exit::Failed, message, hint)
}

/// Whether what was given is what was promised: a record of that network, for this key.
fn check(
    given: &Given,
    invitation: &Invitation,
    key: &PrivateKey,
) -> Result<(Record, NetworkFile), Failure> {
    let text = std::str::from_utf8(&given.network).ok();
    let network = text.and_then(|text| NetworkFile::from_text(text).ok());
    let network = network.filter(|n| n.id == invitation.network);
    let network = network.ok_or_else(nonsense)?;
    let proof = Proof::parse(&given.record).map_err(|_| nonsense())?;
    let is_believed = Realm::of(&network).believe(&proof).is_ok();
    let is_ours = PublicKey::from_bytes(proof.record.key) == key.public();
    match is_believed && is_ours {
        true => Ok((proof.record, network)),
        false => Err(nonsense()),
    }
}

fn nonsense() -> Failure {
    let hint = "is it another version of l2vpn?";
    Failure::with(
        Exit::Failed,
        "the admin gave something that is no record for this machine",
        hint,
    )
}
