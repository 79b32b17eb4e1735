//! The loop of a device: a frame from the camera, its label smoothed, picture and label on the screen.

use crate::camera::{Camera, CameraError, Recovery, Tap};
use crate::classify::{ClassifierOf, ClassifyError};
use crate::duty::{Plan, settle};
use crate::rate::FrameRate;
use crate::screen::{Ink, LiveScreen, Status};
use crate::smooth::{Exponential, FilterError, Rules, Shown, Smoother};
use embedded_graphics::prelude::*;
use ocelli::team::Team;

/// Frames that the rate is counted over.
const RATE_FRAMES: usize = 16;
/// A new frame weighs a quarter.
const SMOOTHING_SHIFT: u8 = 2;
/// Frames that may fail in a row before that is an error.
const FAILURES: u32 = 8;
/// What is shown when: a label from 50 % on, and another one when it leads by 10 % for three frames.
const RULES: Rules = Rules { unknown_below_permille: 500, margin_permille: 100, hold_frames: 3 };

/// What a frame gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'m> {
    /// The smoothed class and its share.
    pub shown: Shown,
    /// The label of that class; `None` is "unknown".
    pub label: Option<&'m str>,
    /// Frames in ten seconds; `None` before two have come.
    pub fps_tenths: Option<u16>,
    /// From the start of the frame until it was classified, in milliseconds; waiting for the camera is in it.
    pub ms: u64,
    /// Frames lost since the start.
    pub lost_frames: u32,
    /// Whether the screen took all that was drawn. A screen that fails stops nothing.
    pub is_drawn: bool,
}

/// A classifier of at most `CLASSES` classes and what follows it.
#[derive(Debug)]
pub struct Live<'m, 'b, K: Ink, const KINDS: u32, const CLASSES: usize> {
    classifier: ClassifierOf<'m, 'b, KINDS>,
    smoother: Smoother<Exponential<CLASSES>>,
    screen: LiveScreen<K>,
    rate: FrameRate<RATE_FRAMES>,
    recovery: Recovery,
    /// The screen has been cleared and has a status.
    is_drawn: bool,
}

impl<'m, 'b, K: Ink, const KINDS: u32, const CLASSES: usize> Live<'m, 'b, K, KINDS, CLASSES> {
    /// A device that has seen nothing.
    ///
    /// # Errors
    /// When `CLASSES` is zero.
    pub fn new(classifier: ClassifierOf<'m, 'b, KINDS>, screen: LiveScreen<K>) -> Result<Self, FilterError> {
        Ok(Self {
            classifier,
            smoother: Smoother::new(Exponential::new(CLASSES, SMOOTHING_SHIFT)?, RULES),
            screen,
            rate: FrameRate::new(),
            recovery: Recovery::new(FAILURES),
            is_drawn: false,
        })
    }

    /// Takes frames until one arrives whole, classifies it, and shows it.
    ///
    /// The cores of `team` share the work. `now_ms` reads any clock that goes on.
    ///
    /// # Errors
    /// When too many frames are lost one after another, or the camera's frames cannot be converted.
    pub fn frame<C, D, T>(
        &mut self,
        camera: &mut C,
        display: &mut D,
        team: &mut T,
        now_ms: impl Fn() -> u64,
    ) -> Result<Seen<'m>, ClassifyError<C::Error>>
    where
        C: Camera<Error: CameraError>,
        D: DrawTarget<Color = K>,
        T: Team,
    {
        let start = now_ms();
        let mut is_drawn = self.is_drawn || {
            let nothing = Status { label: None, permille: 0, fps_tenths: None };
            self.screen.update(display, &nothing).is_ok() // clears it, before the first rows
        };
        let view = self.screen.view(camera.format(), camera.size());
        let mut camera = Tap::new(camera, |number, row: &[u8]| {
            if let Some(view) = &view {
                is_drawn &= view.push_row(display, number, row).is_ok();
            }
        });
        let scores = self.classifier.classify_whole_with(&mut camera, &mut self.recovery, team)?;
        let shown = self.smoother.push(scores);
        let end = now_ms();
        let label = shown.class.and_then(|class| self.classifier.model().label(class));
        let fps_tenths = self.rate.frame(end);
        let status = Status { label, permille: shown.permille, fps_tenths };
        is_drawn &= self.screen.update(display, &status).is_ok();
        if !is_drawn {
            self.screen.invalidate(); // nobody knows what is on it now
        }
        self.is_drawn = is_drawn;
        let lost_frames = self.recovery.faults().lost_frames;
        Ok(Seen { shown, label, fps_tenths, ms: end.saturating_sub(start), lost_frames, is_drawn })
    }

    /// Forgets the frames that came and shows "unknown": what the camera saw before it failed, or before a sleep, says nothing of now.
    pub fn forget<D: DrawTarget<Color = K>>(&mut self, display: &mut D) {
        self.smoother.reset();
        self.rate.reset();
        let nothing = Status { label: None, permille: 0, fps_tenths: None };
        if self.screen.update(display, &nothing).is_err() {
            self.screen.invalidate();
            self.is_drawn = false;
        }
    }

    /// The work of a turn of [`DutyCycle`](crate::duty::DutyCycle): throws the first frames away, takes those of the plan as
    /// [`frame`](Self::frame) does, and returns what the last one gave; `None` where the plan has none. What was seen in other turns is forgotten.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn turn<C, D, T>(
        &mut self,
        plan: &Plan,
        camera: &mut C,
        display: &mut D,
        team: &mut T,
        now_ms: impl Fn() -> u64,
    ) -> Result<Option<Seen<'m>>, ClassifyError<C::Error>>
    where
        C: Camera<Error: CameraError>,
        D: DrawTarget<Color = K>,
        T: Team,
    {
        self.smoother.reset();
        self.rate.reset();
        settle(plan.settle_frames, || self.classifier.skip_frame(camera))?;
        let mut last = None;
        for _ in 0..plan.frames {
            last = Some(self.frame(camera, display, team, &now_ms)?);
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Fault;
    use crate::classify::tests::{brighter_pixel, file};
    use crate::classify::{Classifier, Memory};
    use crate::duty::Trigger;
    use crate::screen::canvas::Canvas;
    use core::cell::Cell;
    use embedded_graphics::pixelcolor::Rgb565;
    use embedded_graphics::primitives::Rectangle;
    use ocelli::image::PixelFormat;
    use ocelli::runtime::{Arena, EVERY_KIND};
    use ocelli::team::Solo;
    use std::vec;
    use std::vec::Vec;

    /// Frames of 4x2 pixels, bright on one side; a frame whose number is in `broken` ends after a row.
    struct Sides<'s> {
        sides: &'s [usize],
        broken: &'s [usize],
        frame: usize,
        row: usize,
    }

    impl Camera for Sides<'_> {
        type Error = Fault;

        fn format(&self) -> PixelFormat {
            PixelFormat::Gray8
        }

        fn size(&self) -> [u32; 2] {
            [4, 2]
        }

        fn begin_frame(&mut self) -> Result<(), Fault> {
            (self.frame, self.row) = (self.frame + 1, 0);
            if self.frame > self.sides.len() { Err(Fault::Ended) } else { Ok(()) }
        }

        fn next_row(&mut self, row: &mut [u8]) -> Result<(), Fault> {
            self.row += 1;
            if self.row == 2 && self.broken.contains(&self.frame) {
                return Err(Fault::LostFrame);
            }
            row.fill(0);
            row[2 * self.sides[self.frame - 1]..][..2].fill(200);
            Ok(())
        }
    }

    #[test]
    fn frames_become_a_steady_label_on_the_screen_and_lost_ones_are_counted() {
        let model = brighter_pixel();
        let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
        let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
        let classifier = Classifier::load(file(&model), memory).unwrap();
        let mut canvas = Canvas::<Rgb565>::new(64, 64, Rgb565::RED);
        let screen = LiveScreen::new(canvas.bounding_box());
        let picture = screen.view(PixelFormat::Gray8, [4, 2]).unwrap().area();
        let mut live = Live::<_, EVERY_KIND, 2>::new(classifier, screen).unwrap();
        // left, one flicker, one lost frame, then right for good
        let sides = [0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1];
        let mut camera = Sides { sides: &sides, broken: &[7], frame: 0, row: 0 };
        let time = Cell::new(0);
        let mut labels = vec![];
        let error = loop {
            let now = || {
                time.set(time.get() + 50);
                time.get()
            };
            match live.frame(&mut camera, &mut canvas, &mut Solo, now) {
                Ok(seen) => {
                    assert!(seen.is_drawn && seen.ms == 50);
                    labels.push((seen.label, seen.lost_frames));
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error, ClassifyError::Camera(Fault::Ended));
        assert_eq!(labels.len(), 13, "one of the frames is lost");
        assert!(labels[2..7].iter().all(|(label, _)| *label == Some("left")), "{labels:?}");
        assert_eq!(labels.last(), Some(&(Some("right"), 1)));
        let changes = labels.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
        assert!(changes <= 3, "unknown, left, right and perhaps unknown between them: {labels:?}");
        // the last picture is bright on the right
        let corner = picture.top_left;
        let right = picture.bottom_right().unwrap();
        assert!(canvas.at(corner) == Rgb565::BLACK && canvas.at(right) != Rgb565::BLACK);
        assert!(canvas.touched(Point::new(63, 63)) > 0, "the whole screen was cleared");
    }

    #[test]
    fn what_was_seen_is_forgotten_when_the_camera_fails_and_in_the_next_turn() {
        let model = brighter_pixel();
        let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
        let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
        let classifier = Classifier::load(file(&model), memory).unwrap();
        let mut canvas = Canvas::<Rgb565>::new(64, 64, Rgb565::BLACK);
        let screen = LiveScreen::new(canvas.bounding_box());
        let mut live = Live::<_, EVERY_KIND, 2>::new(classifier, screen).unwrap();
        live.forget(&mut canvas);
        let below = |canvas: &Canvas<Rgb565>| -> Vec<Rgb565> {
            let text = Rectangle::new(Point::new(0, 40), Size::new(64, 24));
            text.points().map(|point| canvas.at(point)).collect()
        };
        let unknown = below(&canvas);
        // two frames settle: they are of the other side; the first one of all is cut short, which is no fault then
        let plan = Plan { trigger: Trigger::Every { ms: 1 }, settle_frames: 2, frames: 3 };
        let sides = [1, 1, 0, 0, 0, 0, 0, 1, 1, 1];
        let mut camera = Sides { sides: &sides, broken: &[1], frame: 0, row: 0 };
        let seen = live.turn(&plan, &mut camera, &mut canvas, &mut Solo, || 0).unwrap().unwrap();
        assert_eq!((seen.label, seen.lost_frames, camera.frame), (Some("left"), 0, 5));
        // and in the next turn three frames are enough for the other one
        let seen = live.turn(&plan, &mut camera, &mut canvas, &mut Solo, || 0).unwrap().unwrap();
        assert_eq!((seen.label, camera.frame), (Some("right"), 10));
        assert!(below(&canvas) != unknown);
        let error = live.turn(&plan, &mut camera, &mut canvas, &mut Solo, || 0).unwrap_err();
        assert_eq!(error, ClassifyError::Camera(Fault::Ended));
        live.forget(&mut canvas);
        assert!(below(&canvas) == unknown, "the label of what was seen is still there");
        let none = Plan { frames: 0, settle_frames: 0, ..plan };
        assert_eq!(live.turn(&none, &mut camera, &mut canvas, &mut Solo, || 0), Ok(None));
    }

    #[test]
    fn a_screen_that_fails_stops_nothing_and_is_drawn_anew_when_it_works_again() {
        struct Loose(Canvas<Rgb565>, bool);
        impl OriginDimensions for Loose {
            fn size(&self) -> Size {
                self.0.size()
            }
        }
        impl DrawTarget for Loose {
            type Color = Rgb565;
            type Error = ();
            fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), ()> {
                if self.1 { self.0.draw_iter(pixels).map_err(|never| match never {}) } else { Err(()) }
            }
        }
        let model = brighter_pixel();
        let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
        let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
        let classifier = Classifier::load(file(&model), memory).unwrap();
        let mut display = Loose(Canvas::new(64, 64, Rgb565::RED), false);
        let screen = LiveScreen::new(display.bounding_box());
        let mut live = Live::<_, EVERY_KIND, 2>::new(classifier, screen).unwrap();
        let mut camera = Sides { sides: &[0; 3], broken: &[], frame: 0, row: 0 };
        for (works, is_drawn) in [(false, false), (true, true), (true, true)] {
            display.1 = works;
            assert_eq!(live.frame(&mut camera, &mut display, &mut Solo, || 0).unwrap().is_drawn, is_drawn);
        }
        assert!(display.0.touched(Point::new(63, 63)) > 0);
    }
}
