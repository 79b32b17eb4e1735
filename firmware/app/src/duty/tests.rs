//! A clock that the camera and the sleep move on.

use super::*;
use crate::camera::Faults;
use crate::classify::tests::{brighter_pixel, file};
use crate::classify::{Classifier, Memory};
use core::cell::{Cell, RefCell};
use ocelli::image::PixelFormat;
use ocelli::runtime::Arena;
use std::string::String;
use std::vec;
use std::vec::Vec;

const FRAME_MS: u64 = 30;

/// Time, and what happened: `w` the camera woke, `f` a frame began, `s` standby, digits: when a sleep ended.
#[derive(Default)]
struct World {
    now_ms: Cell<u64>,
    log: RefCell<String>,
    asleep_ms: Cell<u64>,
    /// When the pin becomes active.
    pin_ms: RefCell<Vec<u64>>,
}

impl World {
    fn sleep_until(&self, deadline_ms: u64) {
        let slept = deadline_ms.saturating_sub(self.now_ms.get());
        self.asleep_ms.set(self.asleep_ms.get() + slept);
        self.now_ms.set(self.now_ms.get() + slept);
        self.log.borrow_mut().push_str(&std::format!(" {}", self.now_ms.get()));
    }
}

impl Sleep for &World {
    type Error = &'static str;

    fn now_ms(&mut self) -> u64 {
        self.now_ms.get()
    }

    fn until(&mut self, deadline_ms: u64) -> Result<(), &'static str> {
        self.sleep_until(deadline_ms);
        Ok(())
    }

    fn until_pin(&mut self, deadline_ms: Option<u64>) -> Result<Wake, &'static str> {
        let pin = self.pin_ms.borrow().first().copied();
        match (pin, deadline_ms) {
            (None, None) => Err("nothing will ever wake the chip"),
            (Some(pin), deadline) if deadline.is_none_or(|deadline| pin <= deadline) => {
                self.pin_ms.borrow_mut().remove(0);
                self.sleep_until(pin);
                Ok(Wake::Pin)
            }
            (_, Some(deadline)) => {
                self.sleep_until(deadline);
                Ok(Wake::Timer)
            }
            (Some(_), None) => unreachable!(),
        }
    }
}

/// Frames of 2x1 pixels; the right one is bright once the exposure has settled. Frames with the given numbers break off.
struct Sensor<'w> {
    world: &'w World,
    since_wake: u32,
    frames: u32,
    breaks: Vec<(u32, Fault)>,
    awake: bool,
}

impl Camera for Sensor<'_> {
    type Error = Fault;

    fn format(&self) -> PixelFormat {
        PixelFormat::Gray8
    }

    fn size(&self) -> [u32; 2] {
        [2, 1]
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        assert!(self.awake, "a frame of a camera that sleeps");
        self.world.log.borrow_mut().push('f');
        self.world.now_ms.set(self.world.now_ms.get() + FRAME_MS);
        self.since_wake += 1;
        self.frames += 1;
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        if let Some((_, fault)) = self.breaks.iter().find(|(frame, _)| *frame == self.frames) {
            return Err(*fault);
        }
        row.copy_from_slice(if self.since_wake > 2 { &[0, 80] } else { &[80, 0] });
        Ok(())
    }

    fn wake(&mut self) -> Result<(), Fault> {
        self.world.log.borrow_mut().push('w');
        (self.awake, self.since_wake) = (true, 0);
        Ok(())
    }

    fn standby(&mut self) -> Result<(), Fault> {
        self.world.log.borrow_mut().push('s');
        self.awake = false;
        Ok(())
    }
}

/// Takes turns; returns their results, the best class of each frame, and what the camera's recovery counted.
#[expect(clippy::type_complexity, reason = "only used here")]
fn turns(
    world: &World,
    plan: Plan,
    breaks: &[(u32, Fault)],
    count: usize,
) -> (Vec<Result<Wake, DutyError<&'static str, Fault>>>, Vec<usize>, Faults, u32) {
    let model = brighter_pixel();
    let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let mut classifier = Classifier::load(file(&model), memory).unwrap();
    let mut sensor = Sensor { world, since_wake: 0, frames: 0, breaks: breaks.to_vec(), awake: false };
    let mut recovery = Recovery::new(2);
    let mut duty = DutyCycle::new(world, plan);
    let mut best = vec![];
    let results = (0..count)
        .map(|_| {
            duty.turn(&mut classifier, &mut sensor, &mut recovery, |scores| {
                best.push(usize::from(scores[1] > scores[0]));
            })
        })
        .collect();
    (results, best, recovery.faults(), duty.left_out())
}

#[test]
fn a_turn_comes_at_fixed_times_and_drops_the_first_frames() {
    let world = World::default();
    world.now_ms.set(70);
    let plan = Plan { trigger: Trigger::Every { ms: 1000 }, settle_frames: 2, frames: 3 };
    let (results, best, ..) = turns(&world, plan, &[], 3);
    assert_eq!(results, [Ok(Wake::Timer); 3]);
    assert_eq!(*world.log.borrow(), " 70wfffffs 1070wfffffs 2070wfffffs");
    assert_eq!(best, [1; 9], "the frames before the exposure settled are not classified");
    assert_eq!(world.asleep_ms.get(), 2 * (1000 - 5 * FRAME_MS));
}

#[test]
fn times_that_a_long_turn_passed_are_left_out() {
    let world = World::default();
    let plan = Plan { trigger: Trigger::Every { ms: 100 }, settle_frames: 0, frames: 8 };
    let (results, _, _, left_out) = turns(&world, plan, &[], 3);
    assert_eq!(results, [Ok(Wake::Timer); 3]);
    // a turn takes 240 ms
    assert_eq!(*world.log.borrow(), " 0wffffffffs 300wffffffffs 600wffffffffs");
    assert_eq!(left_out, 4);
    let world = World::default();
    let plan = Plan { trigger: Trigger::Every { ms: 0 }, settle_frames: 0, frames: 1 };
    assert_eq!(turns(&world, plan, &[], 2).0, [Ok(Wake::Timer); 2], "a period of nothing does no harm");
}

#[test]
fn a_pin_wakes_and_so_does_the_time_where_one_is_given() {
    let world = World::default();
    *world.pin_ms.borrow_mut() = vec![5, 2000];
    let plan = Plan { trigger: Trigger::Pin { at_latest_ms: Some(1000) }, settle_frames: 1, frames: 1 };
    let (results, ..) = turns(&world, plan, &[], 4);
    assert_eq!(results, [Ok(Wake::Pin), Ok(Wake::Timer), Ok(Wake::Pin), Ok(Wake::Timer)]);
    assert_eq!(*world.log.borrow(), " 5wffs 1065wffs 2000wffs 3060wffs");
    let plan = Plan { trigger: Trigger::Pin { at_latest_ms: None }, ..plan };
    let (results, ..) = turns(&World::default(), plan, &[], 1);
    assert_eq!(results, [Err(DutyError::Sleep("nothing will ever wake the chip"))]);
}

#[test]
fn the_camera_sleeps_after_errors_too_and_the_plan_goes_on() {
    let world = World::default();
    let plan = Plan { trigger: Trigger::Every { ms: 500 }, settle_frames: 1, frames: 1 };
    // The first is a frame to be thrown away. Of the second turn's, one breaks and the next is taken; in the third two break.
    let lost = |frame: u32| (frame, Fault::LostFrame);
    let (results, best, faults, _) = turns(&world, plan, &[lost(1), lost(4), lost(7), lost(8)], 4);
    let gave_up = Err(DutyError::Classify(ClassifyError::Camera(Fault::LostFrame)));
    assert_eq!(results, [Ok(Wake::Timer), Ok(Wake::Timer), gave_up, Ok(Wake::Timer)]);
    assert_eq!(*world.log.borrow(), " 0wffs 500wfffs 1000wfffs 1500wffs");
    assert_eq!(faults, Faults { lost_frames: 3, sync_lost: 0, bus: 0 });
    assert_eq!(best.len(), 3);
    let (results, ..) = turns(&World::default(), plan, &[(1, Fault::SyncLost)], 1);
    assert_eq!(results, [Err(DutyError::Classify(ClassifyError::Camera(Fault::SyncLost)))], "that is no broken frame");
}
