use super::*;
use crate::jpeg::{encode, tests::colourful};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What a fake device does at one look.
enum Look {
    NotYet,
    Frame(Vec<u8>),
    Damaged,
    Unplugged,
}

struct Fake {
    agreed: Agreed,
    looks: VecDeque<Look>,
}

impl Device for Fake {
    fn agreed(&self) -> Agreed {
        self.agreed
    }

    fn is_ready(&mut self) -> io::Result<bool> {
        match self.looks.front() {
            Some(Look::NotYet) => {
                self.looks.pop_front();
                Ok(false)
            }
            Some(Look::Unplugged) => Err(io::Error::from_raw_os_error(19)), // ENODEV
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    fn take(&mut self, take: &mut dyn FnMut(Option<&[u8]>)) -> io::Result<()> {
        match self.looks.pop_front() {
            Some(Look::Frame(bytes)) => take(Some(&bytes)),
            _ => take(None),
        }
        Ok(())
    }
}

/// A camera whose driver has one layout, and the layouts that it was asked for.
fn camera(has: [u8; 4], size: [u32; 2], looks: Vec<Look>) -> (V4l2Camera, Arc<Mutex<Vec<[u8; 4]>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, mut looks) = (Arc::clone(&asked), Some(looks));
    let open = move |fourcc, _: [u32; 2]| {
        log.lock().unwrap().push(fourcc);
        let agreed = Agreed { fourcc: has, size, stride: 0 };
        let looks = if fourcc == has { looks.take().unwrap_or_default() } else { Vec::new() };
        Ok(Box::new(Fake { agreed, looks: looks.into() }) as Box<dyn Device>)
    };
    let patience = Duration::from_secs(600); // a busy machine must not count as a stalled camera
    (V4l2Camera::with_device("/dev/fake".to_owned(), Box::new(open), None, [640, 480], patience), asked)
}

#[test]
fn yuyv_frames_are_taken_as_they_are_once_they_are_there() {
    let looks = vec![Look::NotYet, Look::NotYet, Look::Frame(vec![16, 128, 235, 128, 1, 2, 3, 4])];
    let (mut camera, _) = camera(*b"YUYV", [2, 2], looks);
    let mut source = camera.open().unwrap();
    let mut frame = Frame::default();
    source.read(&mut frame).unwrap();
    assert_eq!((frame.width, frame.height), (2, 2));
    assert_eq!(frame.pixels, [16, 128, 235, 128, 1, 2, 3, 4]);
    assert_eq!(frame.to_rgb()[..6], [16, 16, 16, 235, 235, 235]);
}

#[test]
fn a_camera_without_yuyv_is_asked_for_mjpeg() {
    let picture = encode(&colourful(32, 16), 90).unwrap();
    let (mut camera, asked) = camera(*b"MJPG", [32, 16], vec![Look::Frame(picture.clone())]);
    let mut source = camera.open().unwrap();
    assert_eq!(*asked.lock().unwrap(), [*b"YUYV", *b"MJPG"]);
    let mut frame = Frame::default();
    source.read(&mut frame).unwrap();
    assert_eq!((frame.width, frame.height, &frame.jpeg), (32, 16, &picture));
}

#[test]
fn a_camera_with_neither_is_said_to_have_none() {
    let (mut camera, _) = camera(*b"pRAA", [32, 16], Vec::new());
    let error = camera.open().err().unwrap().to_string();
    assert!(error.contains("pRAA") && error.contains("rpicam-vid"), "{error}");
}

#[test]
fn damaged_short_late_and_missing_frames_are_told_apart() {
    let looks = vec![Look::Damaged, Look::Frame(vec![1, 2, 3]), Look::Frame(vec![9; 8]), Look::Unplugged];
    let (mut camera, _) = camera(*b"YUYV", [2, 2], looks);
    let mut source = camera.open().unwrap();
    let mut frame = Frame::default();
    assert!(matches!(source.read(&mut frame), Err(SourceError::Corrupt(_))));
    assert!(matches!(source.read(&mut frame), Err(SourceError::Corrupt(_))));
    assert_eq!(source.read(&mut frame), Ok(()));
    assert!(matches!(source.read(&mut frame), Err(SourceError::Lost(what)) if what.contains("unplugged")));
}

#[test]
fn a_camera_that_gives_nothing_stalls() {
    let (mut camera, _) = camera(*b"YUYV", [2, 2], vec![Look::NotYet]);
    camera.patience = Duration::from_millis(1);
    let mut source = camera.open().unwrap();
    assert!(matches!(source.read(&mut Frame::default()), Err(SourceError::Stalled(_))));
}

#[test]
fn a_device_that_is_not_there_may_come() {
    let path = PathBuf::from("/dev/video-that-is-not-there");
    let mut camera = V4l2Camera::new(path, None, [640, 480], Duration::from_secs(1));
    assert!(matches!(camera.open(), Err(SourceError::Lost(_))));
}
