//! `l2vpn up`, from the first check to the last goodbye.

use std::fs::File;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::assemble::{StartError, assemble};
use super::event_loop::{EventLoop, Inputs, Signals};
use super::ports::derived_mac;
use super::{control, journal, resolve, rotation, state};
use crate::config::{Config, PortConfig};
use crate::dataplane::workers::Workers;
use crate::io::janitor::Janitor;
use crate::io::process;
use crate::keys::wipe_stack;
use crate::switch::port::PortRule;

/// Runs a member until it is told to end; to be called while the process has one thread.
///
/// # Errors
/// When it cannot start; nothing is left behind then.
pub fn run(config: Config, log: &str) -> Result<(), StartError> {
    process::raise_descriptors();
    journal::start(log);
    let lock = rotation::lock(&config)?;
    if control::is_alive(&config.socket) {
        return Err(StartError::Running(config.socket.display().to_string()));
    }
    let socket_error = |source| StartError::Socket {
        path: config.socket.clone(),
        source,
    };
    let janitor = Janitor::hire(&config.socket).map_err(socket_error)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::System {
            what: "start the runtime",
            source,
        })?;
    let result = runtime.block_on(serve((config, lock), &janitor));
    // A resolver that waits for its answer must not keep the program.
    runtime.shutdown_background();
    result
}

async fn serve(
    (config, lock): (Config, Option<File>),
    janitor: &Janitor,
) -> Result<(), StartError> {
    let signals = Signals::new()?;
    let mark_file = state::mark_file(&config.state_dir, &config.name);
    let mark = state::read_mark(&mark_file);
    let socket = config.socket.clone();
    let socket_error = |source| StartError::Socket {
        path: socket.clone(),
        source,
    };
    let member = assemble((config, lock), mark).await?;
    wipe_stack();
    let (listener, _socket_file) = control::listen(&socket).map_err(socket_error)?;
    janitor.point_out().map_err(socket_error)?;
    let workers = Workers::start(&member.outside).map_err(|source| StartError::System {
        what: "start the worker threads",
        source,
    })?;
    announce(&member.config);
    let (calls_in, calls) = mpsc::channel(16);
    let (found_in, resolved) = mpsc::channel(16);
    let resolvers = resolve::start(member.numbered(), (&found_in, 0));
    let room = control::room();
    let server = tokio::spawn(control::serve(listener, calls_in, room.clone()));
    let (mapped_in, mapped) = mpsc::channel(4);
    let mapper = member.map_port(mapped_in).map(tokio::spawn);
    let inputs = Inputs {
        calls,
        mapped,
        resolved,
        signals,
    };
    let (member, workers) = EventLoop::new((member, resolvers), workers, mark_file)
        .run(inputs)
        .await;
    // In the mirror order of the setup; each step goes on whatever became of the one before.
    server.abort();
    mapper.inspect(JoinHandle::abort);
    control::drain(&room).await;
    drop(workers);
    for (_, port) in member.ports.iter() {
        let links = &member.links;
        let PortConfig { tap, addresses, .. } = &port.config;
        links.remove_addresses(tap, addresses).await;
    }
    Ok(())
}

fn announce(config: &Config) {
    let taps: Vec<&str> = config.ports.iter().map(|p| p.tap.as_str()).collect();
    tracing::info!(
        name = config.name,
        public_key = %config.own.public(),
        listen = %config.listen,
        taps = taps.join(","),
        peers = config.peers.len(),
        "up"
    );
}

/// What `up` would do, as text: the equivalent of each step in the words of `ip`.
pub struct Plan(Vec<String>);

impl Plan {
    /// The plan for a configuration.
    pub fn of(config: &Config) -> Self {
        let public = config.own.public();
        let origin = state::origin_file(&config.state_dir, &config.name);
        let origin = state::read_origin(&origin, &config.own.keys.names());
        let mut steps = vec![
            format!("# member {} with public key {public}", config.name),
            format!("# listen on UDP {}", config.listen),
        ];
        for port in &config.ports {
            let tap = &port.tap;
            let mac = port.mac.unwrap_or_else(|| derived_mac(&origin, tap));
            steps.push(format!("ip tuntap add {tap} mode tap"));
            steps.push(format!("ip link set {tap} address {mac}"));
            steps.push(format!("ip link set {tap} mtu {}", port.mtu));
            if let Some(bridge) = &port.bridge {
                steps.push(format!("ip link set {tap} master {bridge}"));
            }
            steps.push(format!("ip link set {tap} up"));
            for (ip, prefix) in &port.addresses {
                steps.push(format!("ip address add {ip}/{prefix} dev {tap}"));
            }
            let rule = match &port.rule {
                PortRule::Access(vid) => format!("access, VLAN {vid}"),
                PortRule::Trunk { allowed, native } => {
                    let allowed = allowed.as_ref().map_or("all".into(), ToString::to_string);
                    let native = native.map_or("none".into(), |v| v.to_string());
                    format!("trunk, VLANs {allowed}, native {native}")
                }
                PortRule::Qinq(vid) => format!("qinq, service VLAN {vid}"),
                PortRule::Translate(map) => format!("translate, VLANs {map}"),
            };
            steps.push(format!("# {tap}: segment {}, {rule}", port.segment));
        }
        for peer in &config.peers {
            let endpoints: Vec<String> = peer.endpoints.iter().map(ToString::to_string).collect();
            let endpoints = match endpoints.is_empty() {
                true => "wait for it to call".into(),
                false => format!("call {}", endpoints.join(", ")),
            };
            steps.push(format!(
                "# peer {} {}: {endpoints}",
                peer.name, peer.key.current
            ));
        }
        steps.push(format!("# control socket {}", config.socket.display()));
        Plan(steps)
    }

    /// Its steps.
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}
