//! What the kernel tells of by itself: addresses and routes that come and go.
//!
//! On a socket of its own: such news carries the number of the request that caused it, and would be taken for its answer.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long changes that belong together may take.
const SETTLE: Duration = Duration::from_millis(20);

/// News of this host's addresses and routes.
pub struct Changes {
    news: Pin<Box<dyn Stream<Item = ()> + Send>>,
    connection: JoinHandle<()>,
    /// When what has come counts as complete.
    settles_at: Option<Instant>,
}

impl Changes {
    /// Opens the socket; needs a tokio runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn open() -> io::Result<Changes> {
        let groups = [
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, _, news) = new_multicast_connection(&groups)?;
        Ok(Changes {
            news: Box::pin(news.map(|_| ())),
            connection: tokio::spawn(connection),
            settles_at: None,
        })
    }

    /// Waits for the next change; what follows at once counts as the same one.
    pub async fn next(&mut self) {
        let settles_at = match self.settles_at {
            Some(at) => at,
            None => {
                if self.news.next().await.is_none() {
                    // Nobody tells any more: the regular looks remain.
                    std::future::pending::<()>().await;
                }
                *self.settles_at.insert(Instant::now() + SETTLE)
            }
        };
        // Whoever waits may stop doing so here, and ask again: the change is not forgotten.
        tokio::time::sleep_until(settles_at).await;
        self.settles_at = None;
        while let Some(Some(())) = self.news.next().now_or_never() {}
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
