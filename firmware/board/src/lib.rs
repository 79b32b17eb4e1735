//! What the firmware of the boards has in common, beside the portable part in `ocelli-app`: `run` is the loop with its log,
//! [`mailbox`] shares a step with a second core, [`slots`] is where models are kept that come over a line, `stack` says how deep the stack has been.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(test)]
extern crate std;

#[cfg(any(target_os = "none", test))]
mod depth;
pub mod mailbox;
#[cfg(feature = "run")]
mod pins;
#[cfg(all(feature = "run", target_os = "none"))]
mod run;
pub mod slots;
#[cfg(target_os = "none")]
pub mod stack;

#[cfg(feature = "run")]
pub use pins::ActiveLow;
#[cfg(all(feature = "run", target_os = "none"))]
pub use run::{Device, Updates, plan, run, run_turns, run_updatable};

/// A `&'static mut` to a variable of its own: `once!(TYPE = VALUE)`. Only for `main`, outside of loops.
#[macro_export]
macro_rules! once {
    ($kind:ty = $value:expr) => {{
        static mut VARIABLE: $kind = $value;
        // SAFETY: the variable has no name elsewhere, and `main`, which nothing calls but the start code, passes here once.
        unsafe { &mut *(&raw mut VARIABLE) }
    }};
}

/// The key that pushed models must be signed by: that of `OCELLI_MODEL_KEY`, in a package built with its feature `signed`; otherwise none. For
/// packages that depend on `ocelli-app`.
#[macro_export]
macro_rules! model_key {
    () => {{
        #[cfg(feature = "signed")]
        {
            static KEY: ocelli_app::update::signature::ModelKey =
                match ocelli_app::update::signature::ModelKey::from_hex(env!("OCELLI_MODEL_KEY")) {
                    Some(key) => key,
                    None => panic!("OCELLI_MODEL_KEY must have 64 hexadecimal digits"),
                };
            Some(&KEY as &dyn ocelli_app::update::judge::Verifier)
        }
        #[cfg(not(feature = "signed"))]
        None
    }};
}

/// Ends the program at a panic: a line of the log, then nothing any more. For crates with defmt, once in each.
#[macro_export]
macro_rules! panic_handler {
    () => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
            defmt::error!("panicked at {=str}:{=u32}", file, line);
            loop {
                core::hint::spin_loop();
            }
        }
    };
}
