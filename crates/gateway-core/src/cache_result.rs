/// Response extension: what a cache did with the request.
///
/// Set by the cache, read by whoever writes the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store, stale.
    Stale,
    /// Answered from the store after the upstream said that it still is right.
    Revalidated,
    /// Answered with what another request fetched at the same time.
    Collapsed,
    /// Answered by the upstream, or by nobody as nothing was stored.
    Miss,
    /// Not for the cache.
    Bypass,
}

impl CacheResult {
    /// All there are, in the order in which they are declared.
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Collapsed, Self::Miss, Self::Bypass];

    /// The word for it, in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}
