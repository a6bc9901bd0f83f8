/// Why a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not the URL of a Redis.
    #[error("`{url}` is not the URL of a Redis: {why}; expected something like redis://127.0.0.1:6379")]
    Url {
        /// The URL without its password.
        url: String,
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
}
