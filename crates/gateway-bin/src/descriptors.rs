//! How many files the process may have open, sockets included, and how many clients it can bear with them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the process itself has open or opens now and then: listeners, logs, the admin listener's clients, stores, key sets;
/// and what each worker has: its listener, a copy of that for the next process, its poller, its connection to the store.
const OWN: usize = 32;
const OWN_OF_WORKER: usize = 8;

/// Raises the soft limit on open files to the hard one, as programs in Go do: the low one is there for those that use
/// `select(2)`. Returns how many there may be.
pub(crate) fn raise() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    // Where the system has its own idea of what is too many, what was stays.
    let most =
        if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    if most > soft {
        tracing::debug!("the limit on open files is raised from {soft} to {most}");
    }
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// How many of so many files clients and services have together.
pub(crate) fn for_connections(files: usize, workers: usize) -> usize {
    files - (OWN + OWN_OF_WORKER * workers).min(files / 2)
}

/// How many clients there may be, so that each finds a connection to a service.
pub(crate) fn for_clients(files: usize, workers: usize) -> usize {
    (for_connections(files, workers) / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_the_process_does_not_need_is_for_clients() {
        for (files, workers, clients) in
            [(1024, 4, 480), (1_048_576, 8, 524_240), (100, 2, 26), (64, 16, 16), (2, 1, 1), (0, 1, 1)]
        {
            assert_eq!(for_clients(files, workers), clients, "{files} {workers}");
        }
    }
}
