//! When connections by QUIC and TLS are wanted, and what becomes of them.
//!
//! # Why
//! UDP has a head start. Who is not reached by it after [`HEAD_START`] is called by QUIC, then by TLS; a better way than the
//! one in use is called for as long as there is none, and a leg that is not the best any more ends. Every place that may be
//! called has a task of its own, which waits on how good the way to its peer is at the moment. All of them and what they carry
//! run on one thread beside the member's: a slow carrier delays nobody else.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::assemble::StartError;
use crate::carrier::Carrier;
use crate::config::{Config, EndpointName, PeerConfig};
use crate::io::carriers::{Exchange, Leg, scatter};
use crate::io::clock;
use crate::node::Node;
use crate::node::legs::{self, Rank};
use crate::place::PeerId;
use crate::time::Instant;

/// How long UDP is waited for, and how long QUIC is after that (RFC 8305 in spirit).
const HEAD_START: [(Carrier, Duration); 2] = [
    (Carrier::Quic, Duration::from_millis(150)),
    (Carrier::Tls, Duration::from_millis(400)),
];
/// How long a leg is kept when there is a better way.
/// Longer than a keepalive: the other end has heard from there by then.
const KEPT: Duration = Duration::from_secs(40);
/// The pause after a call that failed, doubled up to the second.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// A caller that has no session after this long is a stranger.
const PROVE_WITHIN: Duration = Duration::from_secs(10);

/// What the member said last has so long to get out.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What a task tells.
pub(super) enum News {
    /// There is a leg, to a peer or from somebody who called.
    Up(Option<PeerId>, Leg),
    /// A leg has ended.
    Ended(SocketAddr),
}

/// A leg that the member has.
struct Held {
    leg: Leg,
    peer: Option<PeerId>,
    /// Since when it is there, or was not in use.
    since: Instant,
    was_used: bool,
}

/// The legs, and the tasks that make them.
pub(super) struct Carriers {
    held: HashMap<SocketAddr, Held>,
    /// Those that may be called.
    callees: Vec<Callee>,
    /// What may be called is told to the thread by this.
    numbers: mpsc::UnboundedSender<Number>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
    /// The member's own address.
    member: SocketAddr,
    /// Of the thread, if there is one.
    runtime: Option<Handle>,
    /// Whether many ports are open.
    scatters: Arc<AtomicBool>,
    /// Ends the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Carriers {
    fn drop(&mut self) {
        self.end.take();
        self.held.clear();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A peer that may be called. Its tasks end with it.
struct Callee {
    peer: PeerId,
    places: Vec<(Carrier, EndpointName)>,
    /// How good the way to it is.
    rank: watch::Sender<Option<Rank>>,
}

/// A place that may be called.
struct Number {
    peer: PeerId,
    carrier: Carrier,
    name: EndpointName,
    rank: watch::Receiver<Option<Rank>>,
}

impl Carriers {
    /// Begins to take calls and to make them, where the configuration says so; `member` is the member's own address.
    pub(super) async fn start(
        config: &Config,
        member: SocketAddr,
        peers: &[(PeerId, PeerConfig)],
    ) -> Result<Self, StartError> {
        let (news_in, news) = mpsc::channel(64);
        let (end, ended) = oneshot::channel();
        let (numbers_in, numbers) = mpsc::unbounded_channel();
        let mut running = None;
        let mut runtime = None;
        let reach = &config.reach;
        let has_numbers = config.peers.iter().any(|p| !p.carried.is_empty());
        if has_numbers || !reach.carried.is_empty() || reach.scatters {
            let (opened_in, opened) = oneshot::channel();
            let listening = config.reach.carried.clone();
            let thread = std::thread::Builder::new().name("carriers".into());
            let tell = news_in.clone();
            let work = move || exchange(listening, member, (numbers, tell), (opened_in, ended));
            let system = |source| StartError::System {
                what: "start the carriers' thread",
                source,
            };
            running = Some(thread.spawn(work).map_err(system)?);
            match opened.await {
                Ok(Err((carrier, address, source))) => {
                    return Err(StartError::Carrier {
                        carrier,
                        address,
                        source,
                    });
                }
                opened => runtime = opened.ok().and_then(Result::ok),
            }
        }
        let mut carriers = Carriers {
            held: HashMap::new(),
            callees: Vec::new(),
            numbers: numbers_in,
            news,
            tell: news_in,
            member,
            runtime,
            scatters: Arc::default(),
            end: Some(end),
            thread: running,
        };
        carriers.set_callees(peers);
        Ok(carriers)
    }

    /// The peers have changed: calls those only that are in the configuration now. The thread is started if there was none.
    pub(super) async fn call_only(&mut self, peers: Vec<(PeerId, PeerConfig)>, config: &Config) {
        let has_numbers = peers.iter().any(|(_, p)| !p.carried.is_empty());
        if has_numbers && self.thread.is_none() {
            match Carriers::start(config, self.member, &peers).await {
                Ok(started) => *self = started,
                Err(error) => tracing::warn!("no peer is called by QUIC or TLS: {error}"),
            }
        }
        self.set_callees(&peers);
    }

    fn set_callees(&mut self, peers: &[(PeerId, PeerConfig)]) {
        let mut before = std::mem::take(&mut self.callees);
        let peers = peers.iter().map(|(id, peer)| (*id, &peer.carried));
        for (peer, places) in peers.filter(|(_, places)| !places.is_empty()) {
            let is_it = |c: &Callee| c.peer == peer && c.places == *places;
            if let Some(at) = before.iter().position(is_it) {
                self.callees.push(before.swap_remove(at));
                continue;
            }
            let rank = watch::Sender::new(None);
            for (carrier, name) in places {
                // The thread is there, or there was no way to start it.
                let _ = self.numbers.send(Number {
                    peer,
                    carrier: *carrier,
                    name: name.clone(),
                    rank: rank.subscribe(),
                });
            }
            self.callees.push(Callee {
                peer,
                places: places.clone(),
                rank,
            });
        }
    }

    /// Opens many ports towards an address by a datagram; the one that is found becomes a leg.
    pub(super) fn scatter(&self, to: SocketAddr, datagram: Vec<u8>) {
        let (tell, member) = (self.tell.clone(), near(self.member));
        let Some(runtime) = &self.runtime else {
            return;
        };
        // One at a time: each has many sockets.
        if self.scatters.swap(true, Ordering::Relaxed) {
            return;
        }
        let scatters = self.scatters.clone();
        runtime.spawn(async move {
            let found = scatter::open(to, &datagram, member).await;
            scatters.store(false, Ordering::Relaxed);
            match found {
                Ok(mut found) => {
                    let leg = found.leg();
                    let told = leg.map(|leg| hand_over(None, leg, tell));
                    tokio::join!(found.carry(), async {
                        if let Some(told) = told {
                            told.await;
                        }
                    });
                }
                Err(error) => tracing::debug!("no port of ours was found by {to}: {error}"),
            }
        });
    }

    /// The next thing that happened; never, when nothing can.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Takes a leg; gives its peer when it is one that we called.
    pub(super) fn take(&mut self, (peer, leg): (Option<PeerId>, Leg), node: &mut Node) {
        node.add_leg(legs::Leg {
            address: leg.address,
            carrier: leg.carrier,
            binding: leg.binding,
        });
        let since = clock::now();
        let held = Held {
            leg,
            peer,
            since,
            was_used: false,
        };
        self.held.insert(held.leg.address, held);
    }

    /// A leg has ended, or is ended by this; gives its peer.
    pub(super) fn end(&mut self, address: SocketAddr) -> Option<PeerId> {
        self.held.remove(&address).and_then(|held| held.peer)
    }

    /// The addresses of the legs to a peer.
    pub(super) fn legs_to(&self, peer: PeerId) -> impl Iterator<Item = SocketAddr> + '_ {
        let to = move |held: &&Held| held.peer == Some(peer);
        self.held.values().filter(to).map(|held| held.leg.address)
    }

    /// The largest packet to a leg, if the address is one.
    pub(super) fn mtu(&self, address: &SocketAddr) -> Option<u16> {
        self.held.get(address).map(|held| held.leg.mtu())
    }

    /// What an address is called: a leg by its carrier and the other end.
    pub(super) fn name(&self, address: SocketAddr) -> String {
        match self.held.get(&address) {
            Some(Held { leg, .. }) => format!("{}{}", leg.carrier.prefix(), leg.remote),
            None => address.to_string(),
        }
    }

    /// Tells the tasks how good the ways are.
    pub(super) fn look(&self, node: &Node) {
        for Callee { peer, rank, .. } in &self.callees {
            let now = node.rank_of(*peer);
            rank.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    }

    /// Callers that have proven nothing for too long.
    pub(super) fn strangers(&mut self, node: &Node) -> Vec<SocketAddr> {
        let now = clock::now();
        let used = node.peers().iter().filter_map(|p| p.path.endpoint());
        let used: HashSet<SocketAddr> = used.map(|e| e.remote).collect();
        for held in self.held.values_mut() {
            if used.contains(&held.leg.address) {
                (held.since, held.was_used) = (now, true);
            }
        }
        let is_stranger = |held: &&Held| {
            // What was in use is perhaps in doubt for a moment.
            let patience = if held.was_used { KEPT } else { PROVE_WITHIN };
            let is_late = now.since(held.since) > patience;
            held.peer.is_none() && is_late && !used.contains(&held.leg.address)
        };
        let strangers = self.held.values().filter(is_stranger);
        strangers.map(|held| held.leg.address).collect()
    }
}

type Opened = oneshot::Sender<Result<Handle, (Carrier, SocketAddr, std::io::Error)>>;

/// The thread: opens what is listened on, calls and answers until the member ends.
fn exchange(
    listening: Vec<(Carrier, SocketAddr)>,
    member: SocketAddr,
    (mut numbers, news): (mpsc::UnboundedReceiver<Number>, mpsc::Sender<News>),
    (opened, ended): (Opened, oneshot::Receiver<()>),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return;
    };
    runtime.block_on(async {
        let exchange = match Exchange::open(&listening, near(member)).await {
            Ok(exchange) => Arc::new(exchange),
            Err((carrier, error)) => {
                let address = listening.iter().find(|(c, _)| *c == carrier);
                let address = address.map_or(member, |(_, address)| *address);
                let _ = opened.send(Err((carrier, address, error)));
                return;
            }
        };
        let _ = opened.send(Ok(Handle::current()));
        let mut tasks = tokio::task::JoinSet::new();
        let call = async {
            while let Some(number) = numbers.recv().await {
                tasks.spawn(keep_calling(exchange.clone(), number, news.clone()));
                // Those that have ended are not kept.
                while tasks.try_join_next().is_some() {}
            }
            std::future::pending::<()>().await
        };
        let taken = |leg: Leg| {
            let news = news.clone();
            tokio::spawn(hand_over(None, leg, news));
        };
        let serve = async {
            exchange.answer(taken).await;
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = serve => {}
            () = call => {}
            _ = ended => {}
        }
        // The goodbyes of the member pass, then those of the connections.
        tokio::time::sleep(LAST_WORDS).await;
        tasks.shutdown().await;
        exchange.close().await;
    });
    // What still closes its connections has a moment for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
}

/// Where a member that listens there is reached on this host.
fn near(member: SocketAddr) -> SocketAddr {
    let ip = match member.ip() {
        ip if !ip.is_unspecified() => ip,
        // A socket for all IPv6 addresses takes IPv4, too.
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    debug_assert_ne!(ip, Ipv6Addr::UNSPECIFIED);
    SocketAddr::new(ip, member.port())
}

/// Gives a leg to the member, and tells when it has ended.
async fn hand_over(peer: Option<PeerId>, leg: Leg, news: mpsc::Sender<News>) {
    let (address, ended) = (leg.address, leg.ended());
    if news.send(News::Up(peer, leg)).await.is_ok() {
        ended.await;
        let _ = news.send(News::Ended(address)).await;
    }
}

/// Calls a place whenever there is no better way than it.
async fn keep_calling(exchange: Arc<Exchange>, mut number: Number, news: mpsc::Sender<News>) {
    let own = Rank::Carried(number.carrier);
    // What is there already and no worse needs no second one; the one that was called is kept for as long as it is as good.
    let is_wanted = move |rank: &Option<Rank>| rank.is_none_or(|rank| rank > own);
    let is_kept = move |rank: &Option<Rank>| rank.is_none_or(|rank| rank >= own);
    let head_start = HEAD_START.iter().find(|(c, _)| *c == number.carrier);
    let head_start = head_start.map_or(AGAIN, |(_, pause)| *pause);
    let mut pause = head_start;
    loop {
        if !is_wanted(&number.rank.borrow()) {
            // What failed before was at another time.
            pause = head_start;
        }
        if number.rank.wait_for(is_wanted).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        // What was last said stays readable when nobody says anything any more: the peer may be gone.
        if number.rank.has_changed().is_err() {
            return;
        }
        if !is_wanted(&number.rank.borrow()) {
            continue;
        }
        match call(&exchange, &number).await {
            Ok(leg) => {
                pause = AGAIN;
                let (address, ended) = (leg.address, leg.ended());
                if news.send(News::Up(Some(number.peer), leg)).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = ended => {}
                    () = is_superseded(&mut number.rank, is_kept) => {}
                }
                let _ = news.send(News::Ended(address)).await;
            }
            Err(error) => {
                pause = (pause * 2).clamp(AGAIN, AGAIN_MOST);
                let Number { carrier, name, .. } = &number;
                tracing::debug!("{}{name}: {error}", carrier.prefix());
            }
        }
    }
}

async fn is_superseded(
    rank: &mut watch::Receiver<Option<Rank>>,
    is_wanted: impl Fn(&Option<Rank>) -> bool,
) {
    loop {
        if rank.wait_for(|rank| !is_wanted(rank)).await.is_err() {
            return;
        }
        tokio::time::sleep(KEPT).await;
        if !is_wanted(&rank.borrow()) {
            return;
        }
    }
}

async fn call(exchange: &Exchange, number: &Number) -> std::io::Result<Leg> {
    let addresses: Vec<SocketAddr> = match &number.name {
        EndpointName::Address(address) => vec![*address],
        EndpointName::Name(host, port) => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await?;
            found.collect()
        }
    };
    let mut last = std::io::ErrorKind::NotFound.into();
    for address in addresses {
        match exchange.call(number.carrier, address).await {
            Ok(leg) => return Ok(leg),
            Err(error) => last = error,
        }
    }
    Err(last)
}
