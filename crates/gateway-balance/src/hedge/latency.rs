use super::{HedgeDelay, HedgeSettings};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each power of two is parted in so many: a quantile is at most an eighth too long.
const PARTS: u32 = 8;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Times below `2^LOWEST` microseconds (128 µs) are one bucket, those from `2^HIGHEST` (134 s) another.
const LOWEST: u32 = 7;
const HIGHEST: u32 = 27;
const BUCKETS: usize = ((HIGHEST - LOWEST) * PARTS + 2) as usize;
/// From so many on, the older half is forgotten: enough for a 99.9th percentile, few enough to follow changes.
const MOST: u64 = 4096;
/// How often the quantile is worked out, in milliseconds.
const INTERVAL: u64 = 1000;
/// Stands for a quantile that is not known.
const UNKNOWN: u64 = u64::MAX;

/// How long a service's answers take: a histogram without a lock.
///
/// Observing is one atomic addition, asking is two loads; once a second one of those who ask works the quantile out.
#[derive(Debug)]
pub(crate) struct Latencies {
    settings: HedgeSettings,
    buckets: [AtomicU32; BUCKETS],
    /// The delay in microseconds.
    delay: AtomicU64,
    due: AtomicU64,
}

impl Latencies {
    pub(crate) fn new(settings: &HedgeSettings) -> Self {
        Self {
            settings: settings.clone(),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            delay: AtomicU64::new(UNKNOWN),
            due: AtomicU64::new(0),
        }
    }

    /// Learns how long an answer took, or that it took longer than this.
    pub(crate) fn observe(&self, took: Duration) {
        if matches!(self.settings.delay, HedgeDelay::Quantile(_)) {
            self.buckets[bucket(took)].fetch_add(1, Relaxed);
        }
    }

    /// After which time another endpoint is asked; `None` while that is not known.
    pub(crate) fn delay(&self, now: u64) -> Option<Duration> {
        let permille = match self.settings.delay {
            HedgeDelay::Fixed(delay) => return Some(*delay),
            HedgeDelay::Quantile(permille) => permille,
        };
        let due = self.due.load(Relaxed);
        // Of many who ask at once, one does it.
        if now >= due && self.due.compare_exchange(due, now + INTERVAL, Relaxed, Relaxed).is_ok() {
            self.update(permille);
        }
        match self.delay.load(Relaxed) {
            UNKNOWN => None,
            micros => Some(Duration::from_micros(micros).max(*self.settings.min)),
        }
    }

    fn update(&self, permille: u16) {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        let sum = counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        let delay =
            if sum < u64::from(self.settings.min_requests) { None } else { quantile(&counts, permille) };
        self.delay.store(delay.map_or(UNKNOWN, micros), Relaxed);
        if sum >= MOST {
            for (bucket, count) in self.buckets.iter().zip(counts) {
                // What was added meanwhile stays.
                bucket.fetch_sub(count - count / 2, Relaxed);
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(UNKNOWN - 1)
}

fn bucket(took: Duration) -> usize {
    let micros = micros(took);
    match micros.checked_ilog2() {
        Some(power) if power >= HIGHEST => BUCKETS - 1,
        Some(power) if power >= LOWEST => {
            let part = (micros >> (power - PARTS_BITS)) as u32 & (PARTS - 1);
            ((power - LOWEST) * PARTS + part + 1) as usize
        }
        _ => 0,
    }
}

/// The upper end of a bucket.
fn end(bucket: usize) -> Duration {
    let bucket = bucket as u32;
    let micros = match bucket.checked_sub(1) {
        None => 1 << LOWEST,
        Some(inner) => {
            let (power, part) = (LOWEST + inner / PARTS, inner % PARTS);
            u64::from(PARTS + part + 1) << (power - PARTS_BITS)
        }
    };
    Duration::from_micros(micros)
}

/// The time within which at least so many of a thousand counted ones were: the upper end of a bucket.
fn quantile(counts: &[u32; BUCKETS], permille: u16) -> Option<Duration> {
    let sum: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let rank = (sum * u64::from(permille)).div_ceil(1000);
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += u64::from(*count);
        seen >= rank && rank > 0
    });
    found.map(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(delay: &str) -> Latencies {
        Latencies::new(&delay.parse::<HedgeDelay>().unwrap().into())
    }

    #[test]
    fn a_fixed_delay_is_what_it_says() {
        assert_eq!(of("200ms").delay(1), Some(Duration::from_millis(200)));
    }

    #[test]
    fn the_quantile_is_known_after_enough_requests_and_never_below_the_shortest() {
        let latencies = of("p95");
        (0..99).for_each(|_| latencies.observe(Duration::from_millis(100)));
        assert_eq!(latencies.delay(1), None);
        latencies.observe(Duration::from_secs(3));
        assert_eq!(latencies.delay(1000), None, "it is worked out once a second");
        let delay = latencies.delay(1001).unwrap().as_millis();
        assert!((100..=113).contains(&delay), "{delay}");
        let fast = of("p95");
        (0..100).for_each(|_| fast.observe(Duration::from_micros(50)));
        assert_eq!(fast.delay(1), Some(Duration::from_millis(10)));
    }

    #[test]
    fn old_times_are_forgotten_as_new_ones_come() {
        let latencies = of("p95");
        (0..10_000).for_each(|_| latencies.observe(Duration::from_secs(1)));
        assert!(latencies.delay(1).unwrap() >= Duration::from_secs(1));
        for second in 1..12 {
            (0..5000).for_each(|_| latencies.observe(Duration::from_millis(20)));
            latencies.delay(1 + second * 1000);
        }
        assert!(latencies.delay(1 + 11_000).unwrap() < Duration::from_millis(25));
    }

    proptest! {
        #[test]
        fn a_time_is_within_its_bucket_and_close_to_its_end(micros in 0u64..134_000_000) {
            let took = Duration::from_micros(micros);
            let (at, least) = (bucket(took), Duration::from_micros(1 << LOWEST));
            prop_assert!(took < end(at), "{took:?} in {at}");
            prop_assert!(at == 0 || took >= end(at - 1), "{took:?} in {at}");
            prop_assert!(end(at) <= (took + took / 8).max(least) + Duration::from_micros(1));
        }

        #[test]
        fn a_quantile_is_that_of_the_sorted_times_or_at_most_an_eighth_more(
            mut times in prop::collection::vec(200u64..60_000_000, 1..300), permille in 1u16..1000,
        ) {
            let mut counts = [0; BUCKETS];
            times.iter().for_each(|micros| counts[bucket(Duration::from_micros(*micros))] += 1);
            times.sort_unstable();
            let rank = (times.len() * usize::from(permille)).div_ceil(1000);
            let exact = Duration::from_micros(times[rank - 1]);
            let seen = quantile(&counts, permille).unwrap();
            prop_assert!(seen >= exact && seen <= exact + exact / 8 + Duration::from_micros(1), "{seen:?} for {exact:?}");
        }
    }
}
