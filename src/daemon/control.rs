//! The control socket: a unix socket that only its user and root may use.
//!
//! The file has mode 0600, and whoever connects is asked for its user besides (a directory may be looser than it looks).

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::api::{self, Answer, Request, Verb};

/// The longest request that is read, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;
/// Connections that are served at once.
const MAX_CLIENTS: usize = 32;
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last answers may take to be read when the member ends.
const DRAIN: Duration = Duration::from_millis(300);
/// How long others may be making sockets in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// A question and where the answer goes.
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The socket's file; it is removed when this is dropped, if it is still ours.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the socket. A socket of that name that nobody listens on is replaced; anything else is left alone.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.exists() {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
    }
    // Two starters must not both find a dead socket and replace each other's new one.
    let _lock = lock_directory(parent);
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            let text = "exists and is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(_) if is_alive(path) => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    // Bound under another name and linked when its mode is right: nobody ever sees it open to others.
    let new = parent.join(format!(".{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let ready = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .and_then(|()| give_name(&new, path))
        .and_then(|()| fs::symlink_metadata(path));
    let _ = fs::remove_file(&new);
    let inode = ready?.ino();
    let path = path.into();
    Ok((listener, SocketFile { path, inode }))
}

/// Gives a file a second name that nobody has; where the file system knows no second names, another one.
fn give_name(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => fs::rename(file, name),
        other => other,
    }
}

/// Holds others off while a socket is made; who cannot lock goes on without.
fn lock_directory(dir: &Path) -> Option<fs::File> {
    let file = fs::File::open(dir).ok()?;
    let began = std::time::Instant::now();
    while began.elapsed() < LOCK_PATIENCE {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            Err(fs::TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Room for a number of clients at once.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CLIENTS))
}

/// Waits until the clients have read their answers, for a moment.
pub(super) async fn drain(room: &Semaphore) {
    let all = u32::try_from(MAX_CLIENTS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN, room.acquire_many(all)).await;
}

/// Whether a daemon listens there.
pub(super) fn is_alive(path: &Path) -> bool {
    StdStream::connect(path).is_ok()
}

/// Serves the socket for ever.
pub(super) async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>, room: Arc<Semaphore>) {
    let own = fs::metadata("/proc/self").map(|m| m.uid()).unwrap_or(0);
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let trusted = stream
                    .peer_cred()
                    .is_ok_and(|c| c.uid() == own || c.uid() == 0);
                if !trusted {
                    tracing::warn!("refused a control connection of another user");
                    continue;
                }
                let calls = calls.clone();
                tokio::spawn(async move {
                    let _ = serve_one(stream, calls).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = AsyncReader::new(read.take(MAX_REQUEST)).lines();
    // An idle client gives its place to others.
    while let Some(line) = tokio::time::timeout(PATIENCE, lines.next_line()).await?? {
        // It may hold a passphrase.
        let line = Zeroizing::new(line);
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) if request.version != api::VERSION => Answer::Error(format!(
                "this daemon speaks version {} of the control protocol, not {}",
                api::VERSION,
                request.version
            )),
            Ok(request) => ask(&calls, request.verb).await,
            Err(error) => Answer::Error(format!("not a request: {error}")),
        };
        let mut text = serde_json::to_string(&answer)?;
        text.push('\n');
        tokio::time::timeout(PATIENCE, write.write_all(text.as_bytes())).await??;
    }
    Ok(())
}

async fn ask(calls: &mpsc::Sender<Call>, verb: Verb) -> Answer {
    let gone = || Answer::Error("the daemon is ending".into());
    let (answer, wait) = oneshot::channel();
    if calls.send(Call { verb, answer }).await.is_err() {
        return gone();
    }
    wait.await.unwrap_or_else(|_| gone())
}

/// Why the command line got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("no daemon listens on {0}")]
    NoDaemon(PathBuf),
    /// The socket belongs to somebody else.
    #[error("not permitted to use {0}")]
    NotPermitted(PathBuf),
    /// It listens and says nothing.
    #[error("the daemon on {0} does not answer")]
    Silent(PathBuf),
    /// The conversation broke off.
    #[error("{path}: {source}")]
    Broken {
        /// Which socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
}

/// Asks a daemon; used by the command line, without a runtime.
///
/// # Errors
/// See [`CallError`].
pub fn call(path: &Path, verb: Verb, timeout: Duration) -> Result<Answer, CallError> {
    let broken = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::Silent(path.into()),
        _ => CallError::Broken {
            path: path.into(),
            source,
        },
    };
    let mut stream = StdStream::connect(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CallError::NoDaemon(path.into())
        }
        io::ErrorKind::PermissionDenied => CallError::NotPermitted(path.into()),
        _ => broken(e),
    })?;
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .map_err(broken)?;
    let request = Request {
        version: api::VERSION,
        verb,
    };
    let text = serde_json::to_string(&request).map_err(|e| broken(e.into()))?;
    let mut text = Zeroizing::new(text);
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(broken)?;
    let mut line = String::new();
    BufReader::new(stream.take(api::MAX_LINE))
        .read_line(&mut line)
        .map_err(broken)?;
    if line.is_empty() {
        let hung_up = io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up");
        return Err(broken(hung_up));
    }
    match serde_json::from_str(&line).map_err(|e| broken(e.into()))? {
        Answer::Error(message) => Err(CallError::Refused(message)),
        answer => Ok(answer),
    }
}
