//! A sensor that is slowed down until its frames come whole.
//!
//! How fast a chip can take rows depends on the network. A sensor that is too fast for it loses every frame, so that its clock is divided
//! further; it is never made faster again.

use super::{Control, Controlled, ControlledError};
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, CameraError, Fault};

/// Frames lost one after another until the sensor is slowed down: one may be noise on the wires.
const LOST_FRAMES: u8 = 2;

/// A controlled camera that finds its pace.
#[derive(Debug)]
pub struct Paced<R, C> {
    camera: Controlled<R, C>,
    /// Frames lost since the last whole one.
    lost: u8,
    /// Rows of this frame.
    rows: u32,
}

impl<R: Camera, C: Control> Paced<R, C> {
    /// Begins with the pace that the sensor is set up for.
    pub const fn new(camera: Controlled<R, C>) -> Self {
        Self { camera, lost: 0, rows: 0 }
    }
}

impl<R, C> Camera for Paced<R, C>
where
    R: Camera<Error: CameraError>,
    C: Control<Error: CameraError>,
{
    type Error = ControlledError<R::Error, C::Error>;

    fn format(&self) -> PixelFormat {
        self.camera.format()
    }

    fn size(&self) -> [u32; 2] {
        self.camera.size()
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        self.rows = 0;
        self.camera.begin_frame()
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        self.camera.next_row(row)?;
        self.rows += 1; // a frame has at most 65,535
        if self.rows >= self.camera.size()[1] {
            (self.rows, self.lost) = (0, 0);
        }
        Ok(())
    }

    /// As [`Controlled`]'s, and after some lost frames the sensor is set up anew with a slower clock.
    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        if fault == Fault::LostFrame {
            self.lost = self.lost.saturating_add(1);
            if self.lost >= LOST_FRAMES && self.camera.control.slower() {
                self.lost = 0;
                return self.camera.recover(Fault::SyncLost);
            }
        }
        self.camera.recover(fault)
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.camera.wake()
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.camera.standby()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Configured, double};
    use crate::ov7670::{Ov7670, Setup};
    use crate::registers::{Registers, Waited};

    /// Rows that come whole when the sensor's divider is at least `needs`.
    struct Fast {
        needs: u8,
        divider: u8,
    }

    impl Camera for Fast {
        type Error = Fault;

        fn format(&self) -> PixelFormat {
            PixelFormat::Yuyv
        }

        fn size(&self) -> [u32; 2] {
            [160, 2]
        }

        fn next_row(&mut self, _: &mut [u8]) -> Result<(), Fault> {
            if self.divider < self.needs { Err(Fault::LostFrame) } else { Ok(()) }
        }

        fn recover(&mut self, fault: Fault) -> Result<(), Fault> {
            if fault == Fault::SyncLost {
                double(&mut self.divider); // as the sensor's clock
            }
            Ok(())
        }
    }

    #[test]
    fn a_sensor_is_slowed_down_until_frames_come_whole_and_then_left_alone() {
        let chip = Registers::<false>::new(&[(0, 0x0a, 0x76), (0, 0x0b, 0x73)]);
        let control = Configured { sensor: Ov7670::new(chip), setup: Setup::DEFAULT, delay: Waited::default() };
        let mut camera = Paced::new(Controlled { rows: Fast { needs: 4, divider: 1 }, control });
        let mut lost = 0;
        for _ in 0..20 {
            camera.begin_frame().unwrap();
            for _ in 0..2 {
                if let Err(error) = camera.next_row(&mut [0; 320]) {
                    lost += 1;
                    camera.recover(error.fault()).unwrap();
                    break;
                }
            }
        }
        assert_eq!((lost, camera.camera.rows.divider), (4, 4));
        assert_eq!(camera.camera.control.setup.divider, 4);
        let clkrc = camera.camera.control.sensor.release().get(0, 0x11);
        assert_eq!(clkrc, 0x83, "divided by 4");
    }

    #[test]
    fn single_lost_frames_and_the_slowest_clock_change_nothing() {
        let chip = Registers::<false>::new(&[(0, 0x0a, 0x76), (0, 0x0b, 0x73)]);
        let setup = Setup { divider: 64, ..Setup::DEFAULT };
        let control = Configured { sensor: Ov7670::new(chip), setup, delay: Waited::default() };
        let mut camera = Paced::new(Controlled { rows: Fast { needs: 0, divider: 64 }, control });
        for _ in 0..5 {
            camera.recover(Fault::LostFrame).unwrap();
        }
        assert_eq!(camera.camera.control.setup.divider, 64);
        camera.camera.control.setup.divider = 1;
        camera.lost = 0;
        for _ in 0..5 {
            camera.recover(Fault::LostFrame).unwrap();
            (0..2).for_each(|_| camera.next_row(&mut [0; 320]).unwrap());
        }
        assert_eq!(camera.camera.control.setup.divider, 1);
    }
}
