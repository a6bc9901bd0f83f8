/// Why the settings make no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateLimitError {
    /// Nothing is limited.
    #[error(
        "it limits nothing: give `limit`, one of `anonymous`, `authenticated` and `api_key`, `tiers`, `limit_from` or `quota`"
    )]
    Empty,
    /// Both a limit for all and tiers.
    #[error("`limit` is for every caller and leaves no room for `{0}`; give either")]
    Both(&'static str),
    /// A tier that has no limit.
    #[error(
        "`tiers.by.expressions[{0}].tier` is `{1}`, which is neither in `tiers.values` nor in `tiers.quotas`"
    )]
    NoTier(usize, String),
    /// Expressions that say nothing.
    #[error("`tiers.by.expressions` is empty, so that nobody is of a tier; expected at least one")]
    NoExpressions,
    /// Expressions that nobody has read.
    #[error(
        "`tiers.by.expressions` has {0} expressions, of which {1} were read; give a condition for each, in their order"
    )]
    Unread(usize, usize),
    /// The name cannot stand in a header.
    #[error(
        "`{0}` cannot name a limit: it is shown in headers, so only letters, digits, `-`, `_` and `.` are allowed"
    )]
    Name(String),
    /// No room for a single caller.
    #[error("`max_keys` is 0, so that no caller could be remembered; expected at least 1")]
    NoKeys,
    /// A burst where a window is counted.
    #[error(
        "`{0}` has a burst, which means nothing where a window is counted; leave it out or choose `gcra`"
    )]
    Burst(String),
    /// More limits than one request can have.
    #[error("{0} limits and quotas at once; expected at most 6")]
    TooMany(usize),
    /// Nothing between the least and the most.
    #[error("`cost.min` is {0} and `cost.max` {1}; expected a `max` that is not below `min`")]
    Bounds(u32, u32),
    /// Failures have no cost of their own.
    #[error(
        "`settle` has no room beside `count = \"failures\"`, where a failure takes its `cost`; leave out either"
    )]
    SettledFailures,
    /// Not one source of the final cost.
    #[error("`settle` needs either `header` or `json`; found {0}")]
    Settle(&'static str),
    /// Not a JSON pointer.
    #[error("`{0}` is no JSON pointer; expected something like \"/usage/total_tokens\"")]
    Pointer(String),
    /// Not the name of a header.
    #[error("`{0}` is no name of a header")]
    Header(String),
    /// Failures are counted by what no answer can have.
    #[error("`statuses` has {0}; expected numbers from 100 to 599")]
    Status(u16),
    /// Failures are counted by nothing.
    #[error("`statuses` is empty, so that no answer would count; expected numbers from 100 to 599")]
    NoStatuses,
    /// Requests that cost more than ever fits.
    #[error(
        "`cost` is {cost}, but `{limit}` has no room for more than {most} at once; every request would be refused"
    )]
    Cost {
        /// What each costs.
        cost: u32,
        /// The limit.
        limit: String,
        /// What fits.
        most: u64,
    },
    /// A queue cannot be shared in parts.
    #[error(
        "`leaky_bucket` lets requests wait in one queue, of which no shares can be taken; choose `shared = \"exact\"`"
    )]
    LeasedQueue,
    /// Shares do not know of penalties.
    #[error(
        "`penalty` begins with the first request beyond the limit, which no instance knows of that has a share; choose \
         `shared = \"exact\"` or `\"local\"`"
    )]
    LeasedPenalty,
    /// A penalty that is none.
    #[error("`penalty` is 0, which would hold nobody; leave it out, or give a time such as \"10m\"")]
    NoPenalty,
    /// A setting that must not be nought.
    #[error("`{0}` is 0; expected at least 1")]
    Zero(&'static str),
}
