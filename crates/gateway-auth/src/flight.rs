//! One question for all who ask the same at the same time.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use hashbrown::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

/// Questions on their way, by key. Whoever asks what is asked already waits for the same answer.
///
/// A question goes on as long as anybody waits for it: nobody who gives up takes it from the others.
pub(crate) struct Flights<T>(Mutex<HashMap<u128, WeakShared<BoxFuture<'static, T>>>>);

/// Beyond this many, questions that nobody waits for any more are looked for.
const MANY: usize = 1024;

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The answer to the question with this key, which is asked only if it is not on its way.
    pub(crate) async fn join<F>(&self, key: u128, ask: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let flight = self.board(key, ask);
        let answer = flight.clone().await;
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that came after the answer have asked anew: theirs stays.
        let ours = flights.get(&key).and_then(WeakShared::upgrade).is_none_or(|other| other.ptr_eq(&flight));
        if ours {
            flights.remove(&key);
        }
        answer
    }

    fn board<F>(&self, key: u128, ask: impl FnOnce() -> F) -> Shared<BoxFuture<'static, T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if flights.len() >= MANY {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = ask().boxed().shared();
        // `None` only for one that has ended.
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_at_once_get_one_answer_even_if_the_first_gives_up() {
        let (flights, asked) = (Arc::new(Flights::default()), Arc::new(AtomicU32::new(0)));
        let join = |key| {
            let (flights, asked) = (flights.clone(), asked.clone());
            tokio::spawn(async move {
                let ask = async move || {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    asked.fetch_add(1, Ordering::Relaxed)
                };
                flights.join(key, move || async move { ask().await }).await
            })
        };
        let first = join(1);
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..10).map(|_| join(1)).collect();
        let another = join(2);
        tokio::task::yield_now().await;
        first.abort();
        for other in others {
            assert_eq!(other.await.unwrap(), 0);
        }
        assert_eq!(another.await.unwrap(), 1);
        assert_eq!(join(1).await.unwrap(), 2, "once answered, it is asked anew");
        assert_eq!(flights.0.lock().unwrap().len(), 0);
    }
}
