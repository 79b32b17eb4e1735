//! A display for the tests: of any size, it counts how often each pixel was drawn, and refuses drawing outside.

use core::convert::Infallible;
use embedded_graphics::prelude::*;
use std::vec;
use std::vec::Vec;

/// Pixels, and how often each was drawn.
pub struct Canvas<C> {
    size: Size,
    pixels: Vec<(C, u32)>,
}

impl<C: PixelColor> Canvas<C> {
    /// A display full of one colour.
    pub fn new(width: u32, height: u32, color: C) -> Self {
        Self { size: Size::new(width, height), pixels: vec![(color, 0); (width * height) as usize] }
    }

    /// The colour of a pixel.
    pub fn at(&self, point: Point) -> C {
        self.pixels[self.index(point)].0
    }

    /// How often a pixel was drawn.
    pub fn touched(&self, point: Point) -> u32 {
        self.pixels[self.index(point)].1
    }

    /// How often any pixel was drawn since the last [`forget`](Self::forget).
    pub fn touches(&self) -> u32 {
        self.pixels.iter().map(|(_, count)| count).sum()
    }

    /// Counts from zero.
    pub fn forget(&mut self) {
        self.pixels.iter_mut().for_each(|(_, count)| *count = 0);
    }

    fn index(&self, point: Point) -> usize {
        (point.y as u32 * self.size.width + point.x as u32) as usize
    }
}

impl<C> OriginDimensions for Canvas<C> {
    fn size(&self) -> Size {
        self.size
    }
}

impl<C: PixelColor> DrawTarget for Canvas<C> {
    type Color = C;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<C>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let area = self.bounding_box();
        for Pixel(point, color) in pixels {
            assert!(area.contains(point), "{point} lies outside {area:?}");
            let index = self.index(point);
            self.pixels[index] = (color, self.pixels[index].1 + 1);
        }
        Ok(())
    }
}
