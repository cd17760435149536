//! The control socket: a unix socket that only its user and root may use.
//!
//! The file has mode 0600, and whoever connects is asked for its user besides (a directory may be looser than it looks).

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::api::{self, Answer, Request, Verb};

/// The longest request that is read, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;
/// Connections that are served at once.
const MAX_CLIENTS: usize = 32;
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Makes the socket. A file of that name that nobody listens on is replaced.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(dir) = path.parent().filter(|d| !d.exists()) {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    // Bound under another name and renamed when its mode is right: nobody ever sees it open to others, and a dead
    // socket is replaced in one step.
    let new = path.with_extension(format!("new{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let ready = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| fs::symlink_metadata(path));
    match ready {
        Ok(meta) => Ok((
            listener,
            SocketFile {
                path: path.into(),
                inode: meta.ino(),
            },
        )),
        Err(error) => {
            let _ = fs::remove_file(&new);
            Err(error)
        }
    }
}

/// Whether a daemon listens there.
pub(super) fn is_alive(path: &Path) -> bool {
    StdStream::connect(path).is_ok()
}

/// Serves the socket for ever.
pub(super) async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let own = fs::metadata("/proc/self").map(|m| m.uid()).unwrap_or(0);
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CLIENTS));
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
                    let _ = tokio::time::timeout(PATIENCE, serve_one(stream, calls)).await;
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
    while let Some(line) = lines.next_line().await? {
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
        write.write_all(text.as_bytes()).await?;
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
    let broken = |source: io::Error| CallError::Broken {
        path: path.into(),
        source,
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
    let mut text = serde_json::to_string(&request).map_err(|e| broken(e.into()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(broken)?;
    let mut line = String::new();
    BufReader::new(stream.take(api::MAX_LINE))
        .read_line(&mut line)
        .map_err(broken)?;
    if line.is_empty() {
        let hung_up = io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon hung up");
        return Err(match fs::symlink_metadata(path) {
            Ok(_) => CallError::NotPermitted(path.into()),
            Err(_) => broken(hung_up),
        });
    }
    match serde_json::from_str(&line).map_err(|e| broken(e.into()))? {
        Answer::Error(message) => Err(CallError::Refused(message)),
        answer => Ok(answer),
    }
}
