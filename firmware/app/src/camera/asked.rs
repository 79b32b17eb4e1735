//! A camera whose frame is cut short when somebody asks for the board's attention.

use super::{Camera, CameraError, Fault};
use core::fmt;
use ocelli::image::PixelFormat;

/// Asks before each row whether there is something else to do; then the frame ends with [`Asked::Asked`].
#[derive(Debug)]
pub struct UntilAsked<C, F> {
    camera: C,
    is_asked: F,
}

/// Why there was no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Asked<E> {
    /// There is something else to do.
    Asked,
    /// The camera failed.
    Camera(E),
}

impl<C: Camera, F: FnMut() -> bool> UntilAsked<C, F> {
    /// A camera that is read until `is_asked` says so.
    pub const fn new(camera: C, is_asked: F) -> Self {
        Self { camera, is_asked }
    }

    fn go_on(&mut self) -> Result<&mut C, Asked<C::Error>> {
        if (self.is_asked)() { Err(Asked::Asked) } else { Ok(&mut self.camera) }
    }
}

impl<C: Camera, F: FnMut() -> bool> Camera for UntilAsked<C, F> {
    type Error = Asked<C::Error>;

    fn format(&self) -> PixelFormat {
        self.camera.format()
    }

    fn size(&self) -> [u32; 2] {
        self.camera.size()
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        self.go_on()?.begin_frame().map_err(Asked::Camera)
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        self.go_on()?.next_row(row).map_err(Asked::Camera)
    }

    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        self.go_on()?.recover(fault).map_err(Asked::Camera)
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.camera.wake().map_err(Asked::Camera)
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.camera.standby().map_err(Asked::Camera)
    }
}

impl<E: CameraError> CameraError for Asked<E> {
    fn fault(&self) -> Fault {
        match self {
            Self::Asked => Fault::Ended, // no other frame is tried
            Self::Camera(error) => error.fault(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Asked<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the frame was cut short: there is something else to do"),
            Self::Camera(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that never begin.
    struct Broken(u32);

    impl Camera for Broken {
        type Error = Fault;

        fn format(&self) -> PixelFormat {
            PixelFormat::Gray8
        }

        fn size(&self) -> [u32; 2] {
            [1, 2]
        }

        fn next_row(&mut self, _row: &mut [u8]) -> Result<(), Fault> {
            self.0 += 1;
            if self.0 > 1 { Err(Fault::SyncLost) } else { Ok(()) }
        }
    }

    #[test]
    fn a_frame_ends_when_it_is_asked_and_no_other_is_tried() {
        let mut asked = [false, false, true, false].into_iter();
        let mut camera = UntilAsked::new(Broken(0), || asked.next().unwrap_or(true));
        assert_eq!(camera.begin_frame(), Ok(()));
        assert_eq!(camera.next_row(&mut [0]), Ok(()));
        assert_eq!(camera.next_row(&mut [0]), Err(Asked::Asked));
        assert_eq!(camera.next_row(&mut [0]), Err(Asked::Camera(Fault::SyncLost)));
        // a camera that fails is not set up again first
        assert_eq!(camera.recover(Fault::SyncLost), Err(Asked::Asked));
        assert_eq!(Asked::<Fault>::Asked.fault(), Fault::Ended);
        assert_eq!(Asked::Camera(Fault::Bus).fault(), Fault::Bus);
    }
}
