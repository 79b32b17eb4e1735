//! A LED that lights while the camera sees one class: `cargo run --release -p ocelli-app --example led_from_label`.
//!
//! The scores of a made-up scene go through the smoothing that a board has, so that the LED does not flicker; the pin is embedded-hal's
//! `OutputPin`, which the HAL of every chip has (here one that prints). With a model: `seen.shown.class` of `ocelli_app::live::Live`, as in
//! `firmware/board/src/run.rs`.

use embedded_hal::digital::{ErrorType, OutputPin, PinState};
use ocelli_app::smooth::{Exponential, FilterError, Rules, Smoother};
use std::convert::Infallible;

const CAT: usize = 0;

/// Lit from 60 % on, and when another class leads by 10 % for three frames it goes out.
const RULES: Rules = Rules { unknown_below_permille: 600, margin_permille: 100, hold_frames: 3 };

/// int8 scores of a softmax, cat and dog: -128 is 0 %, 127 nearly 100 %.
const SCENE: [([i8; 2], u32); 5] = [
    ([110, -110], 6),  // a cat
    ([-20, 20], 1),    // it turns its head
    ([110, -110], 6),  // a cat
    ([-100, 100], 12), // a dog
    ([0, 0], 8),       // who knows
];

fn main() -> Result<(), FilterError> {
    let mut smoother = Smoother::new(Exponential::<2>::new(2, 2)?, RULES);
    let mut led = Printed { is_high: None, frame: 0 };
    for (scores, frames) in SCENE {
        for _ in 0..frames {
            let shown = smoother.push(&scores);
            let Ok(()) = led.set_state(PinState::from(shown.class == Some(CAT)));
            led.frame += 1;
        }
    }
    Ok(())
}

/// A pin that says when it changes.
struct Printed {
    is_high: Option<bool>,
    frame: u32,
}

impl ErrorType for Printed {
    type Error = Infallible;
}

impl Printed {
    fn set(&mut self, is_high: bool) -> Result<(), Infallible> {
        if self.is_high.replace(is_high) != Some(is_high) {
            println!("frame {:>2}: LED {}", self.frame, if is_high { "on" } else { "off" });
        }
        Ok(())
    }
}

impl OutputPin for Printed {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true)
    }
}
