//! The firmware's live screen on Linux: drawn into memory, shown on a framebuffer or as a PNG file.

use crate::files::Disk;
use crate::frame::Frame;
use crate::live::Caption;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use ocelli_app::screen::{LiveScreen, Status};
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A picture that can be drawn on.
#[derive(Clone, Debug)]
pub struct Canvas {
    size: Size,
    /// Red, green, blue of each pixel, row after row.
    rgb: Vec<u8>,
}

impl Canvas {
    /// A black canvas.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        let count = usize::try_from(u64::from(width) * u64::from(height) * 3).unwrap_or(0);
        Self { size: Size::new(width, height), rgb: vec![0; count] }
    }

    /// Rows of red, green and blue bytes.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.rgb.chunks_exact(usize::try_from(self.size.width * 3).unwrap_or(3).max(1))
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive);
        let done = encoder.write_image(&self.rgb, self.size.width, self.size.height, ExtendedColorType::Rgb8);
        done.map_err(io::Error::other)?;
        Ok(png)
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let area = Rectangle::new(Point::zero(), self.size);
        for Pixel(at, color) in pixels.into_iter().filter(|Pixel(at, _)| area.contains(*at)) {
            let [x, y] = [at.x, at.y].map(|side| usize::try_from(side).unwrap_or(0));
            let start = 3 * (y * usize::try_from(self.size.width).unwrap_or(0) + x);
            if let Some(pixel) = self.rgb.get_mut(start..start + 3) {
                pixel.copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

/// Where a canvas is shown.
pub trait Display: Send {
    /// Columns and rows.
    fn size(&self) -> [u32; 2];

    /// Shows the canvas.
    ///
    /// # Errors
    /// When it cannot be written.
    fn show(&mut self, canvas: &Canvas) -> io::Result<()>;
}

/// A live screen and where it is shown.
pub struct Overlay {
    canvas: Canvas,
    screen: LiveScreen<Rgb888>,
    display: Box<dyn Display>,
    /// Size of the frames that were drawn last: of another size they cover another part.
    drawn: [u32; 2],
}

impl Overlay {
    /// A screen that shows nothing yet.
    #[must_use]
    pub fn new(display: Box<dyn Display>) -> Self {
        let [width, height] = display.size();
        let canvas = Canvas::new(width, height);
        let screen = LiveScreen::new(canvas.bounding_box());
        Self { canvas, screen, display, drawn: [0; 2] }
    }

    /// Draws a frame and what is known about it, and shows both.
    ///
    /// # Errors
    /// Those of the display.
    pub fn show(&mut self, frame: &Frame, caption: &Caption) -> io::Result<()> {
        let size = [frame.width, frame.height];
        if size != self.drawn {
            self.screen.invalidate(); // clears what the frames before covered
            self.drawn = size;
        }
        let status =
            Status { label: caption.label.as_deref(), permille: caption.permille, fps_tenths: caption.fps_tenths };
        let Ok(()) = self.screen.update(&mut self.canvas, &status);
        if let Some(view) = self.screen.view(frame.format, size) {
            for (number, row) in (0..).zip(frame.rows()) {
                let Ok(()) = view.push_row(&mut self.canvas, number, row);
            }
        }
        self.display.show(&self.canvas)
    }
}

/// A PNG file that is replaced as a whole.
pub struct PngFile {
    /// The file.
    pub path: PathBuf,
    /// Columns and rows.
    pub size: [u32; 2],
    /// Where it is written.
    pub disk: Box<dyn Disk>,
}

impl Display for PngFile {
    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn show(&mut self, canvas: &Canvas) -> io::Result<()> {
        self.disk.write(&self.path, &canvas.png()?, true)
    }
}

/// How a framebuffer's memory is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Columns and rows.
    pub size: [u32; 2],
    /// 16 (red 5 bits, green 6, blue 5) or 32 (blue, green, red, unused).
    pub bits_per_pixel: u32,
    /// Bytes from a row to the next.
    pub stride: usize,
}

impl Geometry {
    /// The geometry that Linux tells in a folder such as `/sys/class/graphics/fb0`.
    ///
    /// # Errors
    /// When a file of it cannot be read, or this program cannot write such pixels.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
        let wrong = |what: String| io::Error::new(io::ErrorKind::Unsupported, what);
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong(format!("'{text}' is no number")));
        let size = read("virtual_size")?;
        let (width, height) = size.split_once(',').ok_or_else(|| wrong(format!("the size '{size}'")))?;
        let (width, height) = (number(width)?, number(height)?);
        let bits_per_pixel = number(&read("bits_per_pixel")?)?;
        let stride = usize::try_from(number(&read("stride")?)?).unwrap_or(0);
        let row = usize::try_from(u64::from(width) * u64::from(bits_per_pixel / 8)).unwrap_or(usize::MAX);
        let fits = |side: u32| (1..=16_384).contains(&side);
        if !matches!(bits_per_pixel, 16 | 32) || !fits(width) || !fits(height) || stride < row || stride > 8 * row {
            return Err(wrong(format!(
                "a framebuffer of {width} x {height} pixels of {bits_per_pixel} bits, {stride} bytes a row: 16 and 32 bits \
                 are supported"
            )));
        }
        Ok(Self { size: [width, height], bits_per_pixel, stride })
    }
}

/// A framebuffer of Linux, such as `/dev/fb0`.
#[derive(Debug)]
pub struct Framebuffer {
    path: PathBuf,
    geometry: Geometry,
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Framebuffer {
    /// The framebuffer at a path; it is opened when something is shown, and again after an error.
    #[must_use]
    pub const fn new(path: PathBuf, geometry: Geometry) -> Self {
        Self { path, geometry, file: None, bytes: Vec::new() }
    }
}

impl Display for Framebuffer {
    fn size(&self) -> [u32; 2] {
        self.geometry.size
    }

    fn show(&mut self, canvas: &Canvas) -> io::Result<()> {
        self.bytes.clear();
        for (number, row) in (1..).zip(canvas.rows()) {
            for pixel in row.chunks_exact(3) {
                let [r, g, b] = [0, 1, 2].map(|i| pixel[i]);
                if self.geometry.bits_per_pixel == 32 {
                    self.bytes.extend_from_slice(&[b, g, r, 255]);
                } else {
                    let value = (u16::from(r >> 3) << 11) | (u16::from(g >> 2) << 5) | u16::from(b >> 3);
                    self.bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
            self.bytes.resize(number * self.geometry.stride, 0);
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path)?,
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&self.bytes)?;
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
