//! The loop of a board: a line of the log for each frame, and a LED that one label lights.

use crate::stack;
use embedded_graphics::prelude::*;
use embedded_hal::digital::OutputPin;
use ocelli::team::Team;
use ocelli_app::camera::{Asked, Camera, CameraError, Fault, Pause, UntilAsked};
use ocelli_app::classify::{ClassifierOf, ClassifyError, Memory};
use ocelli_app::duty::{DutyCycle, Plan, Sleep, Trigger};
use ocelli_app::live::{Live, Seen};
use ocelli_app::screen::{Ink, LiveScreen};
use ocelli_app::update::line::BLOCK_BYTES;
use ocelli_app::update::{Kit, Line, ModelFlash, Receiver, Region, Store, serve};

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

/// What a board has that takes models over a line.
pub struct Updates<F, L> {
    /// The flash memory that keeps them.
    pub flash: F,
    /// Where their slots are in it.
    pub region: Region,
    /// The line.
    pub line: L,
    /// The memory for a frame on it: of [`FRAME_BYTES`](Self::FRAME_BYTES).
    pub buffer: &'static mut [u8],
    /// The label that lights the LED, whichever class of a model has it.
    pub led_label: &'static str,
}

impl Updates<(), ()> {
    /// Bytes of a frame on the line.
    pub const FRAME_BYTES: usize = ocelli_app::update::frame::request_frame_bytes(BLOCK_BYTES as usize);
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
    device.set_up();
    let led_class = Some(device.led_class);
    let mut deepest = 0;
    device.watch::<KINDS, CLASSES>(classifier, led_class, &now_ms, &mut deepest, false, || false);
    stop(|| defmt::error!("the camera has ended"))
}

/// As [`run`], with models that come over a line: classifies by the active one, or by the firmware's own, and stops for the time of an
/// update. A board whose model cannot be used, or whose camera does not work, still takes another model.
///
/// `kit` has the memory, and `CLASSES` in it. Slots that do not lie in the flash memory are logged, and then nothing happens any more.
pub fn run_updatable<const KINDS: u32, const CLASSES: usize, F, N, C, D, L, T>(
    updates: Updates<F, N>,
    mut kit: Kit<'static, KINDS>,
    mut device: Device<C, D, L, T>,
    now_ms: impl Fn() -> u64,
) -> !
where
    F: ModelFlash,
    N: Line,
    C: Camera<Error: CameraError + defmt::Format>,
    D: DrawTarget<Color: Ink>,
    L: OutputPin,
    T: Team,
{
    let Updates { flash, region, mut line, buffer, led_label } = updates;
    let Ok(store) = Store::open(flash, region, &mut kit) else {
        stop(|| defmt::error!("the slots for models do not lie in the flash memory"))
    };
    let mut receiver = Receiver::new(store, kit, buffer, BLOCK_BYTES);
    device.set_up();
    let (mut deepest, mut may_stop) = (0, true);
    loop {
        let active = receiver.active();
        defmt::info!("model {=u32:08x}, {=u32} bytes, from slot {}", active.crc, active.length, active.slot);
        let (model, kit) = receiver.parts();
        match ClassifierOf::<KINDS>::load(core::hint::black_box(model), kit.memory()) {
            Ok(classifier) => {
                let led_class = classifier.model().labels().position(|label| label == led_label);
                let is_asked = || line.has_byte();
                device.watch::<KINDS, CLASSES>(classifier, led_class, &now_ms, &mut deepest, may_stop, is_asked);
            }
            Err(error) => {
                defmt::error!("the model cannot be used: {}", error);
                while !line.has_byte() {}
            }
        }
        // After noise a frame comes to its end first.
        may_stop = serve(&mut receiver, &mut line, &now_ms);
    }
}

/// Frames until a sensor's exposure is right after it woke: a guess to begin with, as no data sheet says it.
const SETTLE_FRAMES: u32 = 4;
/// Frames of a turn: as many as a label must lead until it is shown ([`Live`]).
const TURN_FRAMES: u32 = 3;

/// What a board does that sleeps: turns every so many milliseconds, or by a pin, and then at the latest after these milliseconds, unless they are 0.
#[must_use]
pub fn plan(every_ms: u32, by_pin: bool) -> Plan {
    let trigger = if by_pin {
        Trigger::Pin { at_latest_ms: Some(every_ms).filter(|&ms| ms > 0) }
    } else {
        Trigger::Every { ms: every_ms }
    };
    Plan { trigger, settle_frames: SETTLE_FRAMES, frames: TURN_FRAMES }
}

/// As [`run`], by the turns of a plan: camera and chip sleep between them, by `sleep`.
pub fn run_turns<const KINDS: u32, const CLASSES: usize, S, C, D, L, T>(
    model: &[u8],
    memory: Memory<'_>,
    mut device: Device<C, D, L, T>,
    now_ms: impl Fn() -> u64,
    sleep: S,
    plan: Plan,
) -> !
where
    S: Sleep<Error: defmt::Format>,
    C: Camera<Error: CameraError + defmt::Format>,
    D: DrawTarget<Color: Ink>,
    L: OutputPin,
    T: Team,
{
    let classifier = match ClassifierOf::<KINDS>::load(core::hint::black_box(model), memory) {
        Ok(classifier) => classifier,
        Err(error) => stop(|| defmt::error!("the model cannot be used: {}", error)),
    };
    let screen = LiveScreen::new(device.display.bounding_box());
    let Ok(mut live) = Live::<'_, '_, _, KINDS, CLASSES>::new(classifier, screen) else {
        stop(|| defmt::error!("the model has no classes"))
    };
    device.set_up();
    device.lay_down(); // the first turn may be long in coming
    let led_class = Some(device.led_class);
    let (mut turns, mut deepest) = (DutyCycle::new(sleep, plan), 0);
    loop {
        let mut seen = None;
        let Device { camera, display, team, .. } = &mut device;
        let turn = turns.turn_with(camera, |camera, plan| {
            seen = live.turn(plan, camera, display, team, &now_ms)?;
            Ok(())
        });
        match turn {
            Ok(wake) => defmt::debug!("woken by {}", wake),
            Err(error) => {
                defmt::error!("{}; the camera is set up again for the next turn", error);
                let _ = device.led.set_low();
                live.forget(&mut device.display);
                device.set_up();
                device.lay_down();
            }
        }
        if let Some(seen) = seen {
            device.report(&seen, led_class);
        }
        note_depth(&mut deepest);
    }
}

impl<C, D, L, T> Device<C, D, L, T>
where
    C: Camera<Error: CameraError + defmt::Format>,
    D: DrawTarget<Color: Ink>,
    L: OutputPin,
    T: Team,
{
    /// Sets the camera up.
    fn set_up(&mut self) {
        // A sensor that does not answer is tried again.
        if let Err(error) = self.camera.recover(Fault::Bus) {
            defmt::error!("camera: {}", error);
        }
    }

    /// Sends the camera to standby.
    fn lay_down(&mut self) {
        if let Err(error) = self.camera.standby() {
            defmt::error!("camera: {}", error);
        }
    }

    /// Says what a frame gave, and sets the LED.
    fn report(&mut self, seen: &Seen<'_>, led_class: Option<usize>) {
        let label = seen.label.unwrap_or(ocelli_app::screen::UNKNOWN);
        defmt::info!(
            "{=str} {=u16}/1000, {=u64} ms, {=u32} frames lost",
            label,
            seen.shown.permille,
            seen.ms,
            seen.lost_frames
        );
        let is_lit = led_class.is_some() && seen.shown.class == led_class;
        // A LED that fails is no reason to stop, and those of the boards cannot.
        let _ = self.led.set_state(is_lit.into());
        if !seen.is_drawn {
            defmt::warn!("the screen does not take the picture");
        }
    }

    /// Classifies frames until there is something else to do; the first one is cut short for that only if it `may_stop`.
    fn watch<const KINDS: u32, const CLASSES: usize>(
        &mut self,
        classifier: ClassifierOf<'_, '_, KINDS>,
        led_class: Option<usize>,
        now_ms: &impl Fn() -> u64,
        deepest: &mut u32,
        mut may_stop: bool,
        mut is_asked: impl FnMut() -> bool,
    ) {
        let screen = LiveScreen::new(self.display.bounding_box());
        let Ok(mut live) = Live::<'_, '_, _, KINDS, CLASSES>::new(classifier, screen) else {
            stop(|| defmt::error!("the model has no classes"))
        };
        let mut pause = Pause::new();
        loop {
            let mut camera = UntilAsked::new(&mut self.camera, || may_stop && is_asked());
            let seen = live.frame(&mut camera, &mut self.display, &mut self.team, now_ms);
            may_stop = true;
            match seen {
                Ok(seen) => {
                    pause.succeeded();
                    self.report(&seen, led_class);
                }
                Err(ClassifyError::Camera(Asked::Asked)) => return,
                Err(error) => {
                    let ms = pause.failed();
                    defmt::error!("{}; the camera is set up again in {=u32} ms", error, ms);
                    // What was seen before says nothing of now.
                    let _ = self.led.set_low();
                    live.forget(&mut self.display);
                    let start = now_ms();
                    while now_ms().saturating_sub(start) < ms.into() {
                        if is_asked() {
                            return;
                        }
                    }
                    self.set_up();
                }
            }
            note_depth(deepest);
        }
    }
}

/// Logs how deep the stack has been, where that is deeper than before.
fn note_depth(deepest: &mut u32) {
    match stack::deepest_bytes(*deepest) {
        Some(bytes) if bytes > *deepest => {
            *deepest = bytes;
            defmt::info!("the stack has been {=u32} bytes deep", bytes);
        }
        Some(_) => {}
        None => stop(|| defmt::error!("stack overflow: the variables may be damaged")),
    }
}

/// Says why, and does nothing any more.
fn stop(say: impl FnOnce()) -> ! {
    say();
    loop {
        core::hint::spin_loop();
    }
}
