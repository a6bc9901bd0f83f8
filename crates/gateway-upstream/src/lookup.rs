//! The addresses of an endpoint's name, asked for by one at a time.
//!
//! The system's resolver takes a thread for as long as it waits, of which there are only so many, and waits on when nobody
//! does any more. So whoever comes while it is asked waits for the same answer: a name whose servers say nothing takes
//! one thread, and not those of all other names.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

type Found = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// Who waits for the resolver, if anybody does.
#[derive(Debug, Default)]
pub(crate) struct Lookup(Mutex<Option<watch::Receiver<Option<Found>>>>);

impl Lookup {
    /// At least one address.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, port)].into());
        }
        let host = host.to_owned();
        self.shared(async move {
            let found: Arc<[SocketAddr]> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
            }
            Ok(found)
        })
        .await
    }

    async fn shared<F>(&self, ask: F) -> io::Result<Arc<[SocketAddr]>>
    where
        F: Future<Output = io::Result<Arc<[SocketAddr]>>> + Send + 'static,
    {
        let mut told = self.join(ask);
        match told.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(found))) => Ok(found.clone()),
            Ok(Some(Err(error))) => Err(match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Ok(None) | Err(_) => Err(io::Error::other("the worker that asked has ended")),
        }
    }

    /// What is asked already, or this.
    fn join<F>(&self, ask: F) -> watch::Receiver<Option<Found>>
    where
        F: Future<Output = io::Result<Arc<[SocketAddr]>>> + Send + 'static,
    {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on =
            |told: &&watch::Receiver<Option<Found>>| told.has_changed().is_ok() && told.borrow().is_none();
        if let Some(told) = asked.as_ref().filter(goes_on) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        *asked = Some(told.clone());
        // Whoever asked first may give up before the others.
        tokio::spawn(async move {
            let found = ask.await.map_err(Arc::new);
            // All may have given up.
            let _ = tell.send(Some(found));
        });
        told
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_it_is_asked_share_one_answer_and_the_next_asks_anew() {
        let (lookup, asked) = (Lookup::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |answer: &'static str| {
            let asked = asked.clone();
            lookup.shared(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(10)).await;
                match answer {
                    "" => Err(io::Error::other("no such name")),
                    address => Ok([address.parse().unwrap()].into()),
                }
            })
        };
        // The first gives up, again and again, and nobody else is asked.
        for _ in 0..5 {
            assert!(timeout(Duration::from_secs(1), ask("10.0.0.1:80")).await.is_err());
        }
        let (one, other) = tokio::join!(ask("10.0.0.2:80"), ask("10.0.0.3:80"));
        assert_eq!(&*one.unwrap(), &["10.0.0.1:80".parse().unwrap()]);
        assert_eq!(&*other.unwrap(), &["10.0.0.1:80".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let (one, other) = tokio::join!(ask(""), ask("10.0.0.4:80"));
        assert_eq!(one.unwrap_err().to_string(), "no such name");
        assert!(other.is_err());
        assert_eq!(&*ask("10.0.0.5:80").await.unwrap(), &["10.0.0.5:80".parse().unwrap()]);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
