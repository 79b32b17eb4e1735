//! Cores that work on a step together.

/// Cores that work on a step together: what a chip with two of them lends a session
/// ([`SessionOf::push_row_with`](crate::runtime::SessionOf::push_row_with)).
pub trait Team {
    /// How many cores there are. With one, a session does not divide its steps at all.
    const CORES: usize;

    /// Runs both, at the same time where there are two cores, and returns when both are done.
    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send));
}

/// The core that calls, alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Team for Solo {
    const CORES: usize = 1;

    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        a();
        b();
    }
}
