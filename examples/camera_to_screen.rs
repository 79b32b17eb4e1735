//! Camera to screen, as on a board, but on a terminal: `cargo run --release -p ocelli-app --example camera_to_screen`.
//!
//! A made-up camera films digits, and now and then loses a frame. Its rows are drawn on a monochrome screen of 128x64 pixels (that of an
//! SSD1306) while the digit network classifies them; the label is smoothed, and the screen draws only what changed. `--all` prints
//! every frame; without it, one for each digit.

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X10;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use ocelli::image::PixelFormat;
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, EVERY_KIND};
use ocelli::team::Solo;
use ocelli_app::camera::{Camera, Fault};
use ocelli_app::classify::{Classifier, Memory};
use ocelli_app::live::Live;
use ocelli_app::screen::LiveScreen;
use std::convert::Infallible;
use std::error::Error;

static MODEL: Aligned<[u8; include_bytes!("../models/mnist-cnn/model.ocelli").len()]> =
    Aligned(*include_bytes!("../models/mnist-cnn/model.ocelli"));

/// Side of the camera's frames, in pixels.
const SIDE: usize = 60;
/// Frames that each digit is held before the camera.
const HELD: u32 = 8;
/// What a frame of a sensor at 12.5 frames a second takes.
const FRAME_MS: u64 = 80;

fn main() -> Result<(), Box<dyn Error>> {
    let every_frame = std::env::args().any(|argument| argument == "--all");
    // A board has these in `static` memory.
    let (mut arena, mut scratch, mut row) = (Arena::<16384>::new(), [0; 3 * 28], [0; SIDE]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let classifier = Classifier::load(&MODEL.0, memory)?;
    let mut camera = DigitCamera::new();
    let mut display = Terminal { lit: vec![[false; 128]; 64], drawn: 0 };
    let screen = LiveScreen::<BinaryColor>::new(display.bounding_box());
    let mut live = Live::<'_, '_, _, EVERY_KIND, 10>::new(classifier, screen)?;
    for frame in 0..10 * HELD {
        display.drawn = 0;
        // a board's clock goes on by itself
        let now_ms = u64::from(frame) * FRAME_MS;
        let seen = live.frame(&mut camera, &mut display, &mut Solo, || now_ms)?;
        if every_frame || frame % HELD == HELD - 1 {
            let (label, lost, drawn) = (seen.label.unwrap_or("unknown"), seen.lost_frames, display.drawn);
            println!("{}frame {frame}: {label}, {drawn} pixels drawn, {lost} frames lost", display.text());
        }
    }
    Ok(())
}

/// Frames of white digits on black, six times the size of a font's, that move a little.
struct DigitCamera {
    pixels: Vec<u8>,
    frame: u32,
    row: usize,
}

impl DigitCamera {
    fn new() -> Self {
        Self { pixels: vec![0; SIDE * SIDE], frame: 0, row: 0 }
    }
}

impl Camera for DigitCamera {
    type Error = Fault;

    fn format(&self) -> PixelFormat {
        PixelFormat::Gray8
    }

    fn size(&self) -> [u32; 2] {
        [SIDE as u32; 2]
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        let mut glyph = Glyph([[false; 6]; 10]);
        let digit = (self.frame / HELD % 10).to_string();
        let style = MonoTextStyle::new(&FONT_6X10, BinaryColor::On);
        let Ok(_) = Text::with_baseline(&digit, Point::zero(), style, Baseline::Top).draw(&mut glyph);
        let sway = (self.frame % 4) as usize;
        for (at, pixel) in self.pixels.iter_mut().enumerate() {
            // the glyph has 5x7 pixels from its second row on; six times that lies in the middle
            let (x, y) = ((at % SIDE + sway).checked_sub(16), (at / SIDE).checked_sub(3));
            let lit = y.zip(x).and_then(|(y, x)| glyph.0.get(y / 6)?.get(x / 6).copied());
            *pixel = if lit == Some(true) { 255 } else { 0 };
        }
        (self.frame, self.row) = (self.frame + 1, 0);
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        if self.frame.is_multiple_of(19) && self.row == SIDE / 2 {
            return Err(Fault::LostFrame);
        }
        row.copy_from_slice(&self.pixels[self.row * SIDE..(self.row + 1) * SIDE]);
        self.row += 1;
        Ok(())
    }
}

/// A character's pixels.
struct Glyph([[bool; 6]; 10]);

impl OriginDimensions for Glyph {
    fn size(&self) -> Size {
        Size::new(6, 10)
    }
}

impl DrawTarget for Glyph {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.0[at.y as usize][at.x as usize] = color.is_on();
        }
        Ok(())
    }
}

/// A screen of 128x64 pixels, two of which make a character.
struct Terminal {
    lit: Vec<[bool; 128]>,
    drawn: u32,
}

impl Terminal {
    fn text(&self) -> String {
        let mut text = String::new();
        for rows in self.lit.chunks(2) {
            for (upper, lower) in rows[0].iter().zip(&rows[1]) {
                text.push(match (upper, lower) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push('\n');
        }
        text
    }
}

impl OriginDimensions for Terminal {
    fn size(&self) -> Size {
        Size::new(128, 64)
    }
}

impl DrawTarget for Terminal {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.lit[at.y as usize][at.x as usize] = color.is_on();
            self.drawn += 1;
        }
        Ok(())
    }
}
