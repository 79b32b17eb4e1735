//! The loop of a board: a line of the log for each frame, and a LED that one label lights.

use crate::stack;
use embedded_graphics::prelude::*;
use embedded_hal::digital::OutputPin;
use ocelli::team::Team;
use ocelli_app::camera::{Camera, CameraError, Fault};
use ocelli_app::classify::{ClassifierOf, Memory};
use ocelli_app::live::Live;
use ocelli_app::screen::{Ink, LiveScreen};

/// What is connected to a board.
#[derive(Debug)]
pub struct Device<C, D, L, T> {
    /// The camera, not yet set up: [`run`] begins with a [`Camera::recover`].
    pub camera: C,
    /// The screen.
    pub display: D,
    /// The LED, lit when its pin is high.
    pub led: L,
    /// The class that lights it.
    pub led_class: usize,
    /// The cores that share the work.
    pub team: T,
}

/// Classifies what the camera sees, for ever. A model that cannot be used is logged once, and then nothing happens any more.
///
/// `KINDS` are the model's kernels, `CLASSES` its scores; `now_ms` reads any clock that goes on.
pub fn run<const KINDS: u32, const CLASSES: usize, C, D, L, T>(
    model: &[u8],
    memory: Memory<'_>,
    mut device: Device<C, D, L, T>,
    now_ms: impl Fn() -> u64,
) -> !
where
    C: Camera<Error: CameraError + defmt::Format>,
    D: DrawTarget<Color: Ink>,
    L: OutputPin,
    T: Team,
{
    // The compiler must not learn what is in the file: a board's model may be exchanged without it.
    let classifier = match ClassifierOf::<KINDS>::load(core::hint::black_box(model), memory) {
        Ok(classifier) => classifier,
        Err(error) => stop(|| defmt::error!("the model cannot be used: {}", error)),
    };
    let screen = LiveScreen::new(device.display.bounding_box());
    let Ok(mut live) = Live::<'_, '_, _, KINDS, CLASSES>::new(classifier, screen) else {
        stop(|| defmt::error!("the model has no classes"))
    };
    // A sensor that does not answer is tried again below.
    if let Err(error) = device.camera.recover(Fault::Bus) {
        defmt::error!("camera: {}", error);
    }
    let mut deepest = 0;
    loop {
        match live.frame(&mut device.camera, &mut device.display, &mut device.team, &now_ms) {
            Ok(seen) => {
                let label = seen.label.unwrap_or(ocelli_app::screen::UNKNOWN);
                defmt::info!(
                    "{=str} {=u16}/1000, {=u64} ms, {=u32} frames lost",
                    label,
                    seen.shown.permille,
                    seen.ms,
                    seen.lost_frames
                );
                let is_lit = seen.shown.class == Some(device.led_class);
                // A LED that fails is no reason to stop, and those of the boards cannot.
                let _ = device.led.set_state(is_lit.into());
                if !seen.is_drawn {
                    defmt::warn!("the screen does not take the picture");
                }
            }
            Err(error) => {
                defmt::error!("{}; the camera is set up again", error);
                if let Err(error) = device.camera.recover(Fault::Bus) {
                    defmt::error!("camera: {}", error);
                }
            }
        }
        match stack::deepest_bytes() {
            Some(bytes) if bytes > deepest => {
                deepest = bytes;
                defmt::info!("the stack has been {=u32} bytes deep", bytes);
            }
            Some(_) => {}
            None => stop(|| defmt::error!("stack overflow: the variables may be damaged")),
        }
    }
}

/// Says why, and does nothing any more.
fn stop(say: impl FnOnce()) -> ! {
    say();
    loop {
        core::hint::spin_loop();
    }
}
