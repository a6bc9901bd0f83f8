//! Endpoints that were taken out, and until when what is still under way with them may go on.

use gateway_core::Endpoint;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a departure is remembered after it is over: whoever waits for it may come late to look.
const KEPT: Duration = Duration::from_secs(3600);

/// The departures from a service, over all the sets that follow each other. Costs nothing until one is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Departures(Arc<watch::Sender<Vec<Departure>>>);

#[derive(Debug)]
struct Departure {
    endpoint: Endpoint,
    due: Instant,
}

impl Default for Departures {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl Departures {
    /// Notes who is gone, and for whom that is over since they are back.
    pub(crate) fn note(
        &self,
        gone: impl Iterator<Item = Endpoint>,
        is_back: impl Fn(&Endpoint) -> bool,
        due: Instant,
    ) {
        let now = Instant::now();
        self.0.send_modify(|departures| {
            departures.retain(|known| !is_back(&known.endpoint) && known.due + KEPT > now);
            for endpoint in gone {
                if !departures.iter().any(|known| known.endpoint.is_at(&endpoint)) {
                    departures.push(Departure { endpoint, due });
                }
            }
        });
    }

    /// Ready when what is under way with this endpoint is to end; mostly never.
    pub(crate) fn due(&self, endpoint: &Endpoint) -> impl Future<Output = ()> + Send + use<> {
        let (departures, endpoint) = (self.clone(), endpoint.clone());
        async move {
            let mut seen = departures.0.subscribe();
            loop {
                let due = seen
                    .borrow_and_update()
                    .iter()
                    .find(|gone| gone.endpoint.is_at(&endpoint))
                    .map(|g| g.due);
                let over = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    // What has changed comes first: it may be back.
                    _ = seen.changed() => {}
                    () = over => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MINUTE: Duration = Duration::from_secs(60);

    fn endpoint(host: &str) -> Endpoint {
        Endpoint::parse(&format!("http://{host}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_has_until_then_and_who_comes_back_stays() {
        let (departures, start) = (Departures::default(), Instant::now());
        let [a, b] = ["a", "b"].map(endpoint);
        let (of_a, mut of_b) = (departures.due(&a), Box::pin(departures.due(&b)));
        let both = [a.clone(), b.clone()];
        departures.note(both.into_iter(), |_| false, start + MINUTE);
        assert!((&mut of_b).now_or_never().is_none());
        departures.note([a].into_iter(), |endpoint| endpoint.is_at(&b), start + 5 * MINUTE);
        of_a.await;
        assert_eq!(start.elapsed(), MINUTE, "the first word counts");
        assert!(tokio::time::timeout(60 * MINUTE, of_b).await.is_err(), "it is back");
    }
}
