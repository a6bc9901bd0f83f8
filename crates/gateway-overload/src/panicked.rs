/// Calls the service below; where it panics, notes that on the way through.
///
/// What holds its future may be dropped much later, by whoever catches the panic, and knows nothing of it by then.
pub(crate) fn or_panicked<T>(below: impl FnOnce() -> T, note: impl FnOnce()) -> T {
    let mut unless_it_returns = OnDrop(Some(note));
    let returned = below();
    unless_it_returns.0 = None;
    returned
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(note) = self.0.take() {
            note();
        }
    }
}
