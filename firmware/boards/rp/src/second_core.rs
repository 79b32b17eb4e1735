//! The RP2350's second core, which shares the steps of the network.

use embassy_rp::Peri;
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::peripherals::CORE1;
use ocelli_board::mailbox::{Duo, Mailbox};
use ocelli_board::once;

/// Bytes of its stack: several times what the second core of `qemu-m33-duo` was measured to use (684 with resnet8).
const STACK_BYTES: usize = 4096;

static MAILBOX: Mailbox = Mailbox::new();

/// Lets it go.
pub fn start(core: Peri<'static, CORE1>) -> Duo {
    // SAFETY: the second core serves the mailbox, once: `core` is the only one there is.
    spawn_core1(core, once!(Stack<STACK_BYTES> = Stack::new()), || unsafe { MAILBOX.serve() });
    // SAFETY: it is served now, and this is the only team of it, as above.
    unsafe { MAILBOX.team() }
}
