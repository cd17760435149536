//! `l2vpn join`: a member without ports that asks an admin for what makes it one, and ends.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::assemble::{StartError, assemble};
use super::event_loop::{EventLoop, Inputs, Signals};
use super::{journal, resolve};
use crate::config::Config;
use crate::dataplane::workers::Workers;
use crate::io::clock;
use crate::node::{Event, Node};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::asking::{Answer, Ask, Gift, NotGiven};

/// An ask that is not answered is repeated after this.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// What becomes of somebody that asks to be a member.
pub(super) struct Joining {
    peer: PeerId,
    ask: Ask,
    until: Instant,
    is_connected: bool,
    gifts: BTreeMap<Gift, Vec<u8>>,
    refused: Option<NotGiven>,
}

/// What makes a member.
pub struct Given {
    /// The record, with its proof.
    pub record: Vec<u8>,
    /// The network's file.
    pub network: Vec<u8>,
    /// Notes of the segments, as [`crate::wire::asking::read_segment_notes`] reads them.
    pub segments: Vec<u8>,
    /// The network's pre-shared key; empty where it has none.
    pub psk: Zeroizing<Vec<u8>>,
}

/// Why somebody did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It could not even begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nobody answered.
    #[error("nobody answers")]
    Silent,
    /// The admin answered the call and then nothing more.
    #[error("the admin was there and did not answer")]
    HalfSilent,
    /// The admin said no.
    #[error("the admin refuses")]
    Refused(NotGiven),
}

/// Asks the only peer of a configuration, which has to be an admin, for a record; to be called while the process has one thread.
///
/// # Errors
/// See [`JoinError`].
pub fn join(config: Config, ask: Ask, patience: Duration, log: &str) -> Result<Given, JoinError> {
    journal::start(log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::System {
            what: "start the runtime",
            source,
        })?;
    let result = runtime.block_on(serve(config, ask, patience));
    runtime.shutdown_background();
    result
}

async fn serve(config: Config, ask: Ask, patience: Duration) -> Result<Given, JoinError> {
    let signals = Signals::new()?;
    let mark_file = super::state::mark_file(&config.state_dir, &config.name);
    let mut member = assemble((config, None), 0).await?;
    if let Ask::Join(network, _) = &ask {
        member.node.answer_to(Some(network), clock::now());
    }
    member.joining = Some(Joining {
        peer: PeerId(0),
        ask,
        until: clock::now() + patience,
        is_connected: false,
        gifts: BTreeMap::new(),
        refused: None,
    });
    let workers = Workers::start(&member.outside).map_err(|source| StartError::System {
        what: "start the worker threads",
        source,
    })?;
    // Nobody calls, and no port is mapped.
    let (_calls_in, calls) = mpsc::channel(1);
    let (_mapped_in, mapped) = mpsc::channel(1);
    let (found_in, resolved) = mpsc::channel(16);
    let resolvers = resolve::start(member.numbered(), (&found_in, 0));
    let inputs = Inputs {
        calls,
        mapped,
        resolved,
        signals,
    };
    let (member, _workers) = EventLoop::new((member, resolvers), workers, mark_file)
        .run(inputs)
        .await;
    member
        .joining
        .map_or(Err(JoinError::Silent), Joining::outcome)
}

impl Joining {
    /// Takes what concerns it.
    pub(super) fn event(&mut self, event: &Event, node: &mut Node, now: Instant) {
        match event {
            Event::Up(peer) if *peer == self.peer => {
                self.is_connected = true;
                node.ask(self.peer, self.ask, now);
            }
            Event::Answered(peer, bytes) if *peer == self.peer => match Answer::parse(bytes) {
                Some(Answer::Given(gift, bytes)) => {
                    self.gifts.insert(gift, bytes.to_vec());
                }
                Some(Answer::Refused(why)) => self.refused = Some(why),
                None => {}
            },
            _ => {}
        }
    }

    /// Asks again.
    pub(super) fn again(&self, node: &mut Node, now: Instant) {
        if self.is_connected {
            node.ask(self.peer, self.ask, now);
        }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.refused.is_some() || self.gifts.len() == Gift::ALL.len() || now >= self.until
    }

    fn outcome(mut self) -> Result<Given, JoinError> {
        if let Some(why) = self.refused {
            return Err(JoinError::Refused(why));
        }
        let mut gift = |gift| self.gifts.remove(&gift);
        match (
            gift(Gift::Record),
            gift(Gift::Network),
            gift(Gift::Segments),
            gift(Gift::Psk),
        ) {
            (Some(record), Some(network), Some(segments), Some(psk)) => Ok(Given {
                record,
                network,
                segments,
                psk: Zeroizing::new(psk),
            }),
            _ if self.is_connected => Err(JoinError::HalfSilent),
            _ => Err(JoinError::Silent),
        }
    }
}
