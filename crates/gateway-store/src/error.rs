/// Why a store gave no answer.
///
/// Who asks mostly does the same for all of them: what the policy's `on_store_failure` says. More kinds may come, so
/// match the rest with `_`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not the URL of a Redis.
    #[error("`{url}` is not the URL of a Redis: {why}; expected something like redis://127.0.0.1:6379")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Settings that contradict each other, or lack something.
    #[error("{0}")]
    Settings(String),
    /// Settings with a Redis, in a program that was built without the feature `redis`.
    #[error(
        "Redis at {url}: this program was built without it; enable the feature `redis` of gateway-store, or of the \
         crate that uses it"
    )]
    NoRedis {
        /// The URL without its password.
        url: String,
    },
    /// A file that the settings name cannot be used.
    #[error("cannot use `{path}`: {why}", path = path.display())]
    File {
        /// Where it should be.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The server could not be reached, or failed.
    #[error("Redis at {url}: {why}")]
    Away {
        /// The URL without its password.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server answers, but not this: out of memory, no permission, a script that fails.
    #[error("Redis at {url} refused: {why}")]
    Refused {
        /// The URL without its password.
        url: String,
        /// What the server answered.
        why: String,
    },
    /// A store in memory runs no scripts: ask [`Store::is_shared`](crate::Store::is_shared) first, and do the
    /// arithmetic in this process where it is not.
    #[error("a store in memory runs no scripts; it takes a Redis")]
    NoScripts,
}
