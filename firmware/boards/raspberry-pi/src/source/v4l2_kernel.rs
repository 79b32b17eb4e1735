//! The kernel's side of a V4L2 camera.

use super::{Agreed, Device};
use linuxvideo::format::{PixFormat, PixelFormat};
use linuxvideo::stream::ReadStream;
use std::io;
use std::path::Path;

/// Opens a device in a layout and a size, which it may change.
pub(super) fn open(path: &Path, fourcc: [u8; 4], [width, height]: [u32; 2]) -> io::Result<Box<dyn Device>> {
    let wanted = PixFormat::new(width, height, PixelFormat::from_fourcc(fourcc));
    let capture = linuxvideo::Device::open(path)?.video_capture(wanted)?;
    let given = capture.format();
    let agreed = Agreed {
        fourcc: given.pixel_format().as_fourcc(),
        size: [given.width(), given.height()],
        stride: given.bytes_per_line(),
    };
    Ok(Box::new(Kernel { stream: capture.into_stream()?, agreed }))
}

struct Kernel {
    stream: ReadStream,
    agreed: Agreed,
}

impl Device for Kernel {
    fn agreed(&self) -> Agreed {
        self.agreed
    }

    fn is_ready(&mut self) -> io::Result<bool> {
        self.stream.will_block().map(|blocks| !blocks)
    }

    fn take(&mut self, take: &mut dyn FnMut(Option<&[u8]>)) -> io::Result<()> {
        self.stream.dequeue(|view| {
            take((!view.is_error()).then_some(&view[..]));
            Ok(())
        })
    }
}
