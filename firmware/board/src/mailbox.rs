//! A mailbox through which one core gives another half of a step ([`Team`]).
//!
//! The second core calls [`Mailbox::serve`] and stays there: it sleeps, runs what [`Mailbox::team`]'s `join` posts, and sleeps again. It
//! runs kernels only, which neither log nor enter a critical section. On Arm cores they wake each other by events (SEV, WFE); elsewhere, as in the tests, they spin.
#![allow(unsafe_code, reason = "a borrow is lent to another core, which no type can say")]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering, fence};
use ocelli::team::Team;

/// A step's half, as `join` borrows it.
type Half<'j> = &'j mut (dyn FnMut() + Send);

/// A place for one half.
#[derive(Debug)]
pub struct Mailbox {
    /// The half that waits for the second core, or that it computes; null when there is none. It points to a `Half` of `join`'s frame.
    half: AtomicPtr<()>,
}

impl Mailbox {
    /// An empty mailbox; make it a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { half: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The team of the core that calls and the one that serves.
    ///
    /// # Safety
    /// A second core, or thread, must serve this mailbox, and only one; and there must be no other team of it.
    #[must_use]
    pub const unsafe fn team(&'static self) -> Duo {
        Duo { mailbox: self }
    }

    /// Runs what the other core posts, for ever.
    ///
    /// # Safety
    /// No other core or thread may serve this mailbox.
    pub unsafe fn serve(&'static self) -> ! {
        loop {
            let half = wait_for_a_half(&self.half).cast::<Half<'static>>();
            // SAFETY: `fork_and_join` posted the address of a `Half` in its frame and uses neither the frame's `b` nor what it borrows
            // until the mailbox is empty again; this core empties it after its last use. `Send` is in the type.
            let half: &mut Half<'_> = unsafe { &mut *half };
            half();
            self.half.store(ptr::null_mut(), Ordering::Release);
            wake_the_other_core();
        }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

/// A team of two cores.
#[derive(Debug)]
pub struct Duo {
    mailbox: &'static Mailbox,
}

impl Team for Duo {
    const CORES: usize = 2;

    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        fork_and_join(&self.mailbox.half, a, b);
    }
}

/// Posts `b`, runs `a`, and waits for the other core.
///
/// The borrow of `b` ends when this returns, and not before: nothing leaves it early, for a panic ends the program on a board. Elsewhere a
/// panic of `a` is waited for by the guard.
#[inline(never)]
#[cfg_attr(target_os = "none", unsafe(export_name = "ocelli_fork"))] // the counting of instructions in QEMU looks for it
fn fork_and_join(mailbox: &AtomicPtr<()>, a: &mut (dyn FnMut() + Send), mut b: Half<'_>) {
    // Release: what the half reads was written before.
    mailbox.store((&raw mut b).cast(), Ordering::Release);
    wake_the_other_core();
    let joined = Join(mailbox);
    a();
    drop(joined);
}

/// Waits for the other core when it is dropped.
struct Join<'m>(&'m AtomicPtr<()>);

impl Drop for Join<'_> {
    fn drop(&mut self) {
        wait_for_second_core(self.0);
    }
}

/// Sleeps until the mailbox is empty.
#[inline(never)]
#[cfg_attr(target_os = "none", unsafe(export_name = "ocelli_first_core_waits"))]
fn wait_for_second_core(mailbox: &AtomicPtr<()>) {
    // Acquire: what the other core has written is read after.
    while !mailbox.load(Ordering::Acquire).is_null() {
        sleep();
    }
}

/// Sleeps until there is something in the mailbox.
#[inline(never)]
#[cfg_attr(target_os = "none", unsafe(export_name = "ocelli_second_core_waits"))]
fn wait_for_a_half(mailbox: &AtomicPtr<()>) -> *mut () {
    loop {
        let half = mailbox.load(Ordering::Acquire);
        if !half.is_null() {
            return half;
        }
        // An event between the look and this is kept: the core does not fall asleep then.
        sleep();
    }
}

/// Waits for an event.
fn sleep() {
    // SAFETY: the instruction changes nothing but the core's event register.
    #[cfg(all(target_arch = "arm", target_os = "none"))]
    unsafe {
        core::arch::asm!("wfe", options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "arm", target_os = "none")))]
    core::hint::spin_loop();
}

fn wake_the_other_core() {
    fence(Ordering::SeqCst);
    // SAFETY: the instructions change no memory and no register. The mailbox is written before the event is seen.
    #[cfg(all(target_arch = "arm", target_os = "none"))]
    unsafe {
        core::arch::asm!("dsb sy", "sev", options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::vec::Vec;

    #[test]
    fn both_halves_are_done_when_join_returns_every_time() {
        static MAILBOX: Mailbox = Mailbox::new();
        // SAFETY: one thread serves the mailbox, and there is one team.
        thread::spawn(|| unsafe { MAILBOX.serve() });
        // SAFETY: as above.
        let mut team = unsafe { MAILBOX.team() };
        let mut values: Vec<u64> = (0..1000).collect();
        let this = thread::current().id();
        for round in 0..500 {
            let (left, right) = values.split_at_mut(500);
            let (mut here, mut there) = (None, None);
            team.join(
                &mut || {
                    here = Some(thread::current().id());
                    left.iter_mut().for_each(|value| *value += 1);
                },
                &mut || {
                    there = Some(thread::current().id());
                    right.iter_mut().for_each(|value| *value += 1);
                },
            );
            assert!(here == Some(this) && there.is_some() && there != here, "{round}");
            assert!((0..1000).zip(&values).all(|(start, &value)| value == start + round + 1), "{round}");
        }
    }
}
