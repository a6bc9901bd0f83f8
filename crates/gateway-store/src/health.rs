/// Whether a store answers, from [`Store::health`](crate::Store::health).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does, or nobody has asked yet.
    Up,
    /// Its servers were away or too slow when they were last asked. Operations fail at once, but for one a second.
    Away,
    /// They answer, but refused what a [`ping`](crate::Store::ping) or [`probe`](crate::Store::probe) asked of them last:
    /// out of memory, no permission. Operations go on, and fail or not by themselves.
    Refuses,
}
