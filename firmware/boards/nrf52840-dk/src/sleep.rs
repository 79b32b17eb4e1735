//! The chip's sleep: the core waits for an event with its RAM kept, while the RTC counts and a pin is watched. **Never run on hardware.**
//!
//! The clock of the RTC (32,768 Hz) is the only one that goes on: the fast one stops by itself when nothing needs it.

use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use cortex_m::asm::{sev, wfe};
use embassy_futures::select::{Either, select};
use embassy_nrf::Peri;
use embassy_nrf::gpio::{Input, Pull};
use embassy_nrf::peripherals::P0_11;
use embassy_time::{Instant, Timer};
use ocelli_app::duty::{Sleep, Wake};

/// The sleep, and the pin that ends it when it is low.
pub struct Asleep {
    pin: Input<'static>,
}

impl Asleep {
    /// With the pin of the board's button 1, which pulls it low.
    pub fn new(pin: Peri<'static, P0_11>) -> Self {
        Self { pin: Input::new(pin, Pull::Up) }
    }
}

impl Sleep for Asleep {
    type Error = Infallible;

    fn now_ms(&mut self) -> u64 {
        Instant::now().as_millis()
    }

    fn until(&mut self, deadline_ms: u64) -> Result<(), Infallible> {
        wait_for(Timer::at(Instant::from_millis(deadline_ms)));
        Ok(())
    }

    fn until_pin(&mut self, deadline_ms: Option<u64>) -> Result<Wake, Infallible> {
        let low = self.pin.wait_for_low();
        let Some(deadline_ms) = deadline_ms else {
            wait_for(low);
            return Ok(Wake::Pin);
        };
        match wait_for(select(low, Timer::at(Instant::from_millis(deadline_ms)))) {
            Either::First(()) => Ok(Wake::Pin),
            Either::Second(()) => Ok(Wake::Timer),
        }
    }
}

/// Sleeps until a future is ready: after each look at it, until an interrupt has woken it (or any other event has come).
fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // SAFETY: the functions below use no data, and do what a waker's must: `wake` has the future looked at again, from any thread.
    let waker = unsafe { Waker::from_raw(EVENT) };
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        wfe(); // returns at once if the event came since the look
    }
}

/// A waker that sets the core's event, for which `wfe` waits.
const EVENT: RawWaker = RawWaker::new(core::ptr::null(), &RawWakerVTable::new(|_| EVENT, |_| sev(), |_| sev(), |_| {}));
