//! Memory that `main` takes once and keeps.

/// A `&'static mut` to a variable of its own: `once!(TYPE = VALUE)`. Only for `main`, outside of loops.
macro_rules! once {
    ($kind:ty = $value:expr) => {{
        static mut VARIABLE: $kind = $value;
        // SAFETY: the variable has no name elsewhere, and `main`, which nothing calls but the start code, passes here once.
        unsafe { &mut *(&raw mut VARIABLE) }
    }};
}
