//! The addresses of names, each asked for by one at a time.
//!
//! The system's resolver takes a thread for as long as it waits, of which there are only so many, and waits on when nobody
//! does any more. So whoever comes while a name is asked for waits for the same answer: a name whose servers say nothing
//! takes one thread, and not those of all other names and of files. Nothing is remembered: that is the resolver's own
//! work.
//!
//! ```
//! use gateway_lookup::Lookup;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lookup = Lookup::default();
//! let addresses = lookup.addresses("127.0.0.1", 80).await?;
//! assert_eq!(addresses, ["127.0.0.1:80".parse()?]);
//! # Ok(()) }
//! ```

use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Asks for the addresses of names, for each by one at a time. Cheap to clone; clones ask together.
#[derive(Clone)]
pub struct Lookup(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    /// The names that are asked for, with all who wait.
    asked: Mutex<HashMap<String, watch::Receiver<Option<Found>>>>,
}

type Resolver = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;
type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// By the system's resolver.
impl Default for Lookup {
    fn default() -> Self {
        Self::by(|host| async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl Lookup {
    /// By another resolver than the system's.
    pub fn by<F>(resolver: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        let resolver = Box::new(move |host| Box::pin(resolver(host)) as BoxFuture<'static, _>);
        Self(Arc::new(Shared { resolver, asked: Mutex::default() }))
    }

    /// The addresses of a name, at least one, or the address that it is. Waits for as long as the resolver does.
    ///
    /// # Errors
    /// There is none, or the resolver cannot say.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut told = self.join(host);
        match told.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(found))) if found.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"))
            }
            Ok(Some(Ok(found))) => Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect()),
            Ok(Some(Err(error))) => Err(match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Ok(None) | Err(_) => Err(io::Error::other("the thread that asked has ended")),
        }
    }

    /// Whether the resolver is asked for this name now.
    #[must_use]
    pub fn asks_for(&self, host: &str) -> bool {
        self.0.asked().get(host).is_some_and(goes_on)
    }

    /// What is asked already, or is now.
    fn join(&self, host: &str) -> watch::Receiver<Option<Found>> {
        let mut asked = self.0.asked();
        if let Some(told) = asked.get(host).filter(|told| goes_on(told)) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        asked.insert(host.to_owned(), told.clone());
        let (shared, host) = (self.0.clone(), host.to_owned());
        // Whoever asked first may give up before the others.
        tokio::spawn(async move {
            let found = (shared.resolver)(host.clone()).await;
            // Whoever comes from now on asks anew.
            shared.asked().remove(&host);
            // All may have given up.
            let _ = tell.send(Some(found.map(Arc::from).map_err(Arc::new)));
        });
        told
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Found>>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether whoever asks is still there: a runtime that ends takes its tasks with it.
fn goes_on(told: &watch::Receiver<Option<Found>>) -> bool {
    told.has_changed().is_ok()
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("asked", &self.0.asked().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    /// Says after ten seconds how often it was asked, and nothing of `unknown`.
    fn slow() -> (Lookup, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let lookup = Lookup::by(move |host| {
            let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                sleep(Duration::from_secs(10)).await;
                match host.as_str() {
                    "unknown" => Err(io::Error::other("no such name")),
                    "empty" => Ok(Vec::new()),
                    _ => Ok(vec![IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()])]),
                }
            }
        });
        (lookup, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_it_is_asked_share_one_answer_and_the_next_asks_anew() {
        let (lookup, asked) = slow();
        // The first gives up, again and again, and nobody else is asked.
        for _ in 0..5 {
            assert!(timeout(Duration::from_secs(1), lookup.addresses("a", 80)).await.is_err());
            assert!(lookup.asks_for("a") && !lookup.asks_for("b"));
        }
        let (one, other) = tokio::join!(lookup.addresses("a", 80), lookup.addresses("a", 443));
        assert_eq!(one.unwrap(), ["10.0.0.1:80".parse().unwrap()]);
        assert_eq!(other.unwrap(), ["10.0.0.1:443".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(!lookup.asks_for("a"));
        let (one, other) = tokio::join!(lookup.addresses("unknown", 80), lookup.addresses("unknown", 80));
        assert_eq!(one.unwrap_err().to_string(), "no such name");
        assert!(other.is_err());
        assert!(lookup.addresses("empty", 80).await.unwrap_err().to_string().contains("no address"));
        assert_eq!(lookup.addresses("a", 80).await.unwrap(), ["10.0.0.4:80".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        assert!(lookup.0.asked().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn names_do_not_wait_for_each_other_and_addresses_for_nobody() {
        let (lookup, asked) = slow();
        let (one, other) = tokio::join!(lookup.addresses("a", 80), lookup.addresses("b", 80));
        assert_ne!(one.unwrap(), other.unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(lookup.addresses("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn who_asks_on_a_thread_that_ends_is_not_waited_for() {
        let (lookup, asked) = slow();
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().start_paused(true).build().unwrap()
        };
        runtime().block_on(async {
            assert!(timeout(Duration::from_secs(1), lookup.addresses("a", 80)).await.is_err());
        });
        assert!(!lookup.asks_for("a"));
        assert_eq!(runtime().block_on(lookup.addresses("a", 80)).unwrap(), ["10.0.0.2:80".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
