//! Cameras of Linux (V4L2): most USB cameras, in YUYV or MJPEG. The kernel's side is behind [`Device`], so that the rest is tested without.

use super::{Camera, Source, SourceError};
use crate::frame::{Frame, RawFormat, RawLayout};
use crate::jpeg;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[cfg(target_pointer_width = "64")]
#[path = "v4l2_kernel.rs"]
mod kernel;

/// The crate linuxvideo does not build where files have places of 32 bits.
#[cfg(not(target_pointer_width = "64"))]
mod kernel {
    pub(super) fn open(_: &std::path::Path, _: [u8; 4], _: [u32; 2]) -> std::io::Result<Box<dyn super::Device>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// How long to wait before the device is asked again whether a frame is there.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Layouts that are taken, in the order in which they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CameraFormat {
    /// Luma and chroma in turn: no decoding, but USB 2 carries few large frames of it.
    Yuyv,
    /// JPEGs.
    Mjpeg,
}

impl CameraFormat {
    const fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Yuyv => *b"YUYV",
            Self::Mjpeg => *b"MJPG",
        }
    }
}

/// What a device has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The layout, as four letters.
    pub fourcc: [u8; 4],
    /// Columns and rows.
    pub size: [u32; 2],
    /// Bytes from a row to the next; 0 for JPEGs.
    pub stride: u32,
}

/// A device that streams.
pub trait Device: Send {
    /// What it has agreed to.
    fn agreed(&self) -> Agreed;

    /// Whether a frame is there.
    ///
    /// # Errors
    /// When the device is gone.
    fn is_ready(&mut self) -> io::Result<bool>;

    /// Hands the frame's bytes to `take`; `None` when the driver marked it as damaged.
    ///
    /// # Errors
    /// When the device is gone.
    fn take(&mut self, take: &mut dyn FnMut(Option<&[u8]>)) -> io::Result<()>;
}

/// Opens a device in a layout and a size, which it may change.
pub type OpenDevice = Box<dyn FnMut([u8; 4], [u32; 2]) -> io::Result<Box<dyn Device>> + Send>;

/// A camera, opened in a layout that it has.
pub struct V4l2Camera {
    name: String,
    open: OpenDevice,
    formats: Vec<CameraFormat>,
    size: [u32; 2],
    patience: Duration,
}

impl V4l2Camera {
    /// The camera at a path such as `/dev/video0`; the size is a wish.
    #[must_use]
    pub fn new(path: PathBuf, format: Option<CameraFormat>, size: [u32; 2], patience: Duration) -> Self {
        let name = path.display().to_string();
        let open = move |fourcc, size| kernel::open(&path, fourcc, size);
        Self::with_device(name, Box::new(open), format, size, patience)
    }

    /// A camera over any device.
    #[must_use]
    pub fn with_device(
        name: String,
        open: OpenDevice,
        format: Option<CameraFormat>,
        size: [u32; 2],
        patience: Duration,
    ) -> Self {
        let formats = format.map_or_else(|| vec![CameraFormat::Yuyv, CameraFormat::Mjpeg], |format| vec![format]);
        Self { name, open, formats, size, patience }
    }
}

impl Camera for V4l2Camera {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
        let mut found = Vec::new();
        for &format in &self.formats {
            let device = match (self.open)(format.fourcc(), self.size) {
                Ok(device) => device,
                // a driver may refuse a layout that it does not have, instead of offering another
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    found.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(SourceError::Lost(format!("cannot be opened: {error}"))),
            };
            let agreed = device.agreed();
            if agreed.fourcc == format.fourcc() {
                let layout = match format {
                    CameraFormat::Mjpeg => None,
                    CameraFormat::Yuyv => {
                        let stride = usize::try_from(agreed.stride).ok().filter(|&stride| stride > 0);
                        Some(RawLayout::new(RawFormat::Yuyv, agreed.size, stride).map_err(SourceError::Lost)?)
                    }
                };
                return Ok(Box::new(Streaming { device, layout, patience: self.patience, count: 0 }));
            }
            found.push(String::from_utf8_lossy(&agreed.fourcc).into_owned());
        }
        Err(SourceError::Lost(format!(
            "the camera gives neither YUYV nor MJPEG as asked (it offers: {}); Raspberry Pi's own camera modules are read \
             through rpicam-vid",
            found.join(", ")
        )))
    }
}

struct Streaming {
    device: Box<dyn Device>,
    /// `None`: JPEGs.
    layout: Option<RawLayout>,
    patience: Duration,
    count: u64,
}

impl Source for Streaming {
    fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
        let lost = |error: io::Error| SourceError::Lost(format!("unplugged, or its driver failed: {error}"));
        let since = Instant::now();
        while !self.device.is_ready().map_err(lost)? {
            if since.elapsed() >= self.patience {
                return Err(SourceError::Stalled(format!("no frame for {} s", self.patience.as_secs_f64())));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let (layout, mut result) = (self.layout, Err("the driver gave nothing".to_owned()));
        let mut take = |bytes: Option<&[u8]>| {
            result = match (bytes, layout) {
                (None, _) => Err("the driver marked the frame as damaged".to_owned()),
                (Some(bytes), None) => jpeg::decode(bytes, frame),
                (Some(bytes), Some(layout)) if bytes.len() < layout.frame_bytes() => {
                    Err(format!("a frame of {} bytes, not {}", bytes.len(), layout.frame_bytes()))
                }
                (Some(bytes), Some(layout)) => {
                    layout.unpack(bytes, frame);
                    Ok(())
                }
            };
        };
        self.device.take(&mut take).map_err(lost)?;
        result.map_err(SourceError::Corrupt)?;
        self.count += 1;
        frame.name = format!("frame {}", self.count);
        Ok(())
    }
}

#[cfg(test)]
#[path = "v4l2_tests.rs"]
mod tests;
