//! What the fuzzer drives of single ways: their states, datagrams in streams, and routers' answers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::OnceLock;

use l2vpn::io::mapping::map_by_pcp;
use l2vpn::mesh::mtu::Step;
use l2vpn::mesh::path::{Endpoint, Path};
use l2vpn::mesh::places::Search;
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::relayed::{Channel, Relayed};
use l2vpn::wire::stream;

use super::Input;

/// However a stream is cut, what is taken from it is what was put in; and what goes through a relay is read as it is written.
pub fn relay_framing(data: &[u8]) {
    if Relayed::is_one(data)
        && let Ok(header) = Relayed::parse(data)
    {
        assert_eq!(header.channel.header(header.hops), data[..8]);
        assert!(header.hops <= 1);
    }
    let mut input = Input(data);
    let most = usize::from(input.u16());
    let cut = usize::from(input.u8()) + 1;
    let (mut held, mut rest) = (Vec::new(), input.0);
    let mut taken = Vec::new();
    let mut whole = Vec::new();
    'stream: while !rest.is_empty() {
        let (some, after) = rest.split_at(cut.min(rest.len()));
        held.extend_from_slice(some);
        rest = after;
        loop {
            match stream::take(&held, most) {
                Ok(Some((datagram, behind))) => {
                    assert!(datagram.len() <= most);
                    stream::put(&mut whole, datagram);
                    taken.push(datagram.to_vec());
                    held = behind.to_vec();
                }
                Ok(None) => break,
                Err(stream::TooLong) => break 'stream,
            }
        }
        assert!(
            held.len() < most + 2 + cut,
            "more is kept than one datagram"
        );
    }
    assert_eq!(whole, input.0[..whole.len()], "written as it was read");
    let mut again = &whole[..];
    for datagram in taken {
        let (first, behind) = stream::take(again, most).unwrap().unwrap();
        assert_eq!(first, datagram);
        again = behind;
    }
    assert!(again.is_empty());
}

fn way(n: u8) -> Endpoint {
    let v4 = Endpoint::to(SocketAddr::from(([192, 0, 2, n % 3], 7)));
    match n % 5 {
        0 => Endpoint::to(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 7))),
        1 => v4.through(Channel::new(u32::from(n)).unwrap_or(Channel::new(1).unwrap())),
        _ => v4,
    }
}

/// What a path has to be, by all that has happened to it.
struct Model {
    way: Option<Endpoint>,
    /// The largest packet that may be believed.
    most: u16,
    /// Questions of a size on this way, and questions whether somebody is there.
    sizes: Vec<([u8; 8], u16)>,
    challenges: Vec<([u8; 8], Endpoint, Instant)>,
}

/// No answer but the right one from the right place moves a path, and no size is used that was not answered there.
pub fn path_states(data: &[u8]) {
    let mut input = Input(data);
    let fixed = (input.u8().is_multiple_of(4)).then(|| 600 + input.u16() % 8000);
    let mut path = Path::new(fixed);
    let mut model = Model {
        way: None,
        most: fixed.unwrap_or(1280),
        sizes: Vec::new(),
        challenges: Vec::new(),
    };
    let mut now = Instant::from_micros(1_000_000);
    let mut token = 0u64;
    while !input.is_empty() {
        now = now + Duration::from_millis(u64::from(input.u8()) * u64::from(input.u8()));
        token += 1;
        let fresh = token.to_le_bytes();
        let there = way(input.u8());
        match input.u8() % 8 {
            0 => {
                path.prove(there, now);
                model.moved(there, fixed);
            }
            1 => {
                let has = path.challenge(there, fresh, now).is_some();
                has.then(|| model.challenges.push((fresh, there, now)));
            }
            2 => {
                let at = usize::from(input.u8());
                let asked = model.challenges.get(at).map_or(fresh, |c| c.0);
                if let Some(proven) = path.answer(there, asked, now) {
                    let is_right = |(t, to, since): &([u8; 8], Endpoint, Instant)| {
                        *t == asked
                            && to.is_same_way(&there)
                            && now.since(*since) < Duration::from_secs(5)
                    };
                    assert!(model.challenges.iter().any(is_right), "proved by chance");
                    path.prove(proven, now);
                    model.moved(proven, fixed);
                }
            }
            3 => {
                path.set_route_mtu(input.u16() % 9001, now);
            }
            4 | 5 => model.step(&mut path, fresh, now),
            6 => {
                let at = usize::from(input.u8());
                let (asked, size) = model.sizes.get(at).copied().unwrap_or((fresh, 0));
                let taken = path.measure(&there, asked, now);
                if taken.is_some() {
                    let here = model.way.is_some_and(|w| w.is_same_way(&there));
                    assert!(here && size > 0, "believed by chance");
                    model.most = model.most.max(size);
                }
            }
            _ => path.confirm_mtu(u64::from(input.u16()) * 100_000, now),
        }
        assert_eq!(path.endpoint(), model.way);
        assert!(path.mtu() <= model.most, "{} of {}", path.mtu(), model.most);
        assert!(path.mtu() >= 576);
    }
    search(&mut Input(data));
}

impl Model {
    fn moved(&mut self, way: Endpoint, fixed: Option<u16>) {
        if self.way.is_none_or(|w| !w.is_same_way(&way)) {
            self.most = match (way.channel, fixed) {
                (None, Some(fixed)) => fixed,
                _ => 1280,
            };
            self.sizes.clear();
        }
        self.way = Some(way);
    }

    /// Does what is due, which comes to an end.
    fn step(&mut self, path: &mut Path, token: [u8; 8], now: Instant) {
        for n in 0..6u8 {
            if path.mtu_deadline().is_none_or(|at| at > now) {
                return;
            }
            let mut token = token;
            token[7] = n;
            match path.step_mtu(token, now) {
                Step::Ask(size) => self.sizes.push((token, size)),
                Step::Wait | Step::Shrunk => {}
            }
        }
        panic!("it is always due");
    }
}

/// Only who was asked is believed, and however often a member tells addresses, few questions are asked.
fn search(input: &mut Input<'_>) {
    let mut search = Search::default();
    let mut now = Instant::from_micros(1_000_000);
    let began = now;
    let mut questions = 0u64;
    while !input.is_empty() {
        now = now + Duration::from_millis(u64::from(input.u8()));
        match input.u8() % 7 {
            6 => search.told([input.u8(); 8]),
            5 => {
                search.hears([input.u8(); 8], now);
            }
            4 => search.guess(
                (0..input.u8())
                    .map(|n| SocketAddr::from(([192, 0, 2, 9], 1 + u16::from(n))))
                    .collect(),
            ),
            0 => {
                let some =
                    (0..input.u8() % 40).map(|_| SocketAddr::from(([192, 0, 2, input.u8()], 7)));
                search.begin(some.collect(), [input.u8(); 8], now);
            }
            1 => {
                let (from, token) = (
                    SocketAddr::from(([192, 0, 2, input.u8()], 7)),
                    [input.u8(); 8],
                );
                if search.is_answer(from, token) {
                    search.rest();
                }
            }
            _ => {
                if let Some(question) = search.ask(now) {
                    assert!(
                        question.to.len() + question.guesses.len() <= 13 + 20,
                        "{}",
                        question.to.len()
                    );
                    // Those to nobody only tell the peer of us again.
                    questions += u64::from(!question.to.is_empty());
                }
            }
        }
    }
    // Nine in a burst, and a burst in five seconds.
    let bursts = 1 + now.since(began).as_secs() / 5;
    assert!(
        questions <= 9 * (bursts + 1),
        "{questions} in {bursts} bursts"
    );
}

/// A router that only this process asks.
fn router() -> Option<&'static UdpSocket> {
    static ROUTER: OnceLock<Option<UdpSocket>> = OnceLock::new();
    let bind = || {
        let [a, b, ..] = std::process::id().to_le_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 77, a, b), 5351)).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    };
    ROUTER.get_or_init(bind).as_ref()
}

/// Whatever a router answers to PCP and to NAT-PMP, it is a mapping or an error, and soon.
pub fn mapping_answers(data: &[u8]) {
    let Some(router) = router() else {
        return;
    };
    let Ok(SocketAddr::V4(at)) = router.local_addr() else {
        return;
    };
    let mut input = Input(data);
    let mut answers = Vec::new();
    while !input.is_empty() && answers.len() < 4 {
        let len = usize::from(input.u8()).min(input.0.len());
        let (answer, rest) = input.0.split_at(len);
        answers.push(answer.to_vec());
        input.0 = rest;
    }
    let patience = (Duration::from_millis(2), 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let port = NonZeroU16::new(7656).unwrap();
        let asked = map_by_pcp(*at.ip(), Ipv4Addr::LOCALHOST, (port, [1, 2, 3]), patience);
        let answering = async {
            let mut request = [0; 1100];
            let mut answers = answers.into_iter();
            loop {
                while let Ok((_, from)) = router.recv_from(&mut request) {
                    if let Some(answer) = answers.next() {
                        let _ = router.send_to(&answer, from);
                    }
                }
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        };
        tokio::select! {
            mapped = asked => if let Ok((outside, _)) = mapped {
                assert_ne!(outside.port(), 0);
            },
            () = answering => {}
        }
    });
}
