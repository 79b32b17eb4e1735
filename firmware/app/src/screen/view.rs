//! The live picture: camera rows are scaled and drawn as they arrive.

use super::Ink;
use core::num::NonZeroU32;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use ocelli::image::PixelFormat;

/// Where and how large a camera's frames are shown.
#[derive(Clone, Copy, Debug)]
pub struct LiveView {
    format: PixelFormat,
    frame: [NonZeroU32; 2],
    shown: Rectangle,
}

impl LiveView {
    /// The largest centred part of `area` that has the frames' aspect; `None` when a side is zero or above 65,535 pixels.
    #[must_use]
    pub fn new(area: Rectangle, format: PixelFormat, frame: [u32; 2]) -> Option<Self> {
        let Size { width, height } = area.size;
        if [frame[0], frame[1], width, height].iter().any(|&side| side == 0 || side > u32::from(u16::MAX)) {
            return None;
        }
        let [w, h] = [NonZeroU32::new(frame[0])?, NonZeroU32::new(frame[1])?];
        let [across, down] = [w.get() * height, h.get() * width]; // products of two sides fit 32 bits
        let size =
            if across <= down { Size::new((across / h).max(1), height) } else { Size::new(width, (down / w).max(1)) };
        Some(Self { format, frame: [w, h], shown: Rectangle::new(area.top_left + (area.size - size) / 2, size) })
    }

    /// The part of the display that is drawn on.
    #[must_use]
    pub const fn area(&self) -> Rectangle {
        self.shown
    }

    /// Draws what a frame's row is seen of: some rows of the display, or none. Of a frame larger than the area pixels are left out, of a
    /// smaller one they are repeated. Rows beyond the frame are ignored; pixels that `row` does not have are black.
    ///
    /// # Arithmetic
    /// The display's column `x` of `w'` shows the frame's column `floor(x w / w')`; rows likewise.
    ///
    /// # Errors
    /// Those of the display.
    pub fn push_row<D>(&self, display: &mut D, number: u32, row: &[u8]) -> Result<(), D::Error>
    where
        D: DrawTarget<Color: Ink>,
    {
        let ([w, h], Size { width, height }) = (self.frame, self.shown.size);
        if number >= h.get() {
            return Ok(());
        }
        let from = |number: u32| (number * height + (h.get() - 1)) / h; // fits: `number * height` is below 65535^2
        let first = from(number);
        let rows = from(number + 1) - first;
        if rows == 0 {
            return Ok(());
        }
        let corner = self.shown.top_left + super::offset(0, first);
        let colors = (0..rows).flat_map(|y| {
            columns(w.get(), width).zip(0..width).map(move |(column, x)| {
                let rgb = self.format.rgb(row, usize::try_from(column).unwrap_or(usize::MAX));
                D::Color::of_pixel(rgb, corner + super::offset(x, y))
            })
        });
        display.fill_contiguous(&Rectangle::new(corner, Size::new(width, rows)), colors)
    }
}

/// `floor(x w / width)` for `x = 0, 1, 2, ...`, without a division for each.
fn columns(w: u32, width: u32) -> impl Iterator<Item = u32> {
    let (whole, part) = (w / width.max(1), w % width.max(1));
    let (mut column, mut rest) = (0, 0);
    core::iter::from_fn(move || {
        let now = column;
        column += whole;
        rest += part;
        if rest >= width {
            rest -= width;
            column += 1;
        }
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::canvas::Canvas;
    use embedded_graphics::pixelcolor::{BinaryColor, Rgb565, Rgb888};
    use std::vec::Vec;

    /// Gray frames whose pixel is `16 y + x`.
    fn rows(w: u32, h: u32) -> Vec<Vec<u8>> {
        (0..h).map(|y| (0..w).map(|x| u8::try_from(16 * y + x).unwrap()).collect()).collect()
    }

    #[test]
    fn every_pixel_shows_the_pixel_below_it_and_is_drawn_once() {
        let frames = [[4, 3], [16, 12], [12, 16], [7, 5], [1, 16], [16, 1]];
        for frame in frames {
            for size in [[64, 64], [16, 12], [5, 9], [1, 1], [33, 8]] {
                let area = Rectangle::new(Point::new(3, 2), Size::new(size[0], size[1]));
                let view = LiveView::new(area, PixelFormat::Gray8, frame).unwrap();
                let mut canvas = Canvas::<Rgb565>::new(80, 80, Rgb565::RED);
                for (number, row) in (0..).zip(rows(frame[0], frame[1])) {
                    view.push_row(&mut canvas, number, &row).unwrap();
                }
                let shown = view.area();
                assert_eq!(shown.intersection(&area), shown);
                assert!(shown.size.width == size[0] || shown.size.height == size[1], "as large as can be");
                for at in canvas.bounding_box().points() {
                    assert_eq!(canvas.touched(at), u32::from(shown.contains(at)), "{at}");
                    if shown.contains(at) {
                        let part = |i: i32, out: u32, n: u32| (f64::from(i) * f64::from(n) / f64::from(out)) as u32;
                        let x = part(at.x - shown.top_left.x, shown.size.width, frame[0]);
                        let y = part(at.y - shown.top_left.y, shown.size.height, frame[1]);
                        let luma = (16 * y + x) as u8;
                        assert_eq!(canvas.at(at), Rgb565::from(Rgb888::new(luma, luma, luma)), "{frame:?} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn colours_of_every_format_and_monochrome_displays() {
        let area = Rectangle::new(Point::zero(), Size::new(2, 1));
        let red_white = Rgb565::RED.into_storage().to_le_bytes().into_iter().chain([255, 255]).collect::<Vec<_>>();
        let view = LiveView::new(area, PixelFormat::Rgb565, [2, 1]).unwrap();
        let mut canvas = Canvas::<Rgb565>::new(2, 1, Rgb565::BLUE);
        view.push_row(&mut canvas, 0, &red_white).unwrap();
        assert_eq!([canvas.at(Point::zero()), canvas.at(Point::new(1, 0))], [Rgb565::RED, Rgb565::WHITE]);
        let view = LiveView::new(area, PixelFormat::Gray8, [2, 1]).unwrap();
        let mut canvas = Canvas::<BinaryColor>::new(2, 1, BinaryColor::On);
        view.push_row(&mut canvas, 0, &[0, 255]).unwrap();
        assert_eq!([canvas.at(Point::zero()), canvas.at(Point::new(1, 0))], [BinaryColor::Off, BinaryColor::On]);
    }

    #[test]
    fn bad_sizes_and_rows_do_no_harm() {
        let area = Rectangle::new(Point::zero(), Size::new(2, 2));
        assert!(LiveView::new(area, PixelFormat::Gray8, [0, 1]).is_none());
        assert!(LiveView::new(Rectangle::zero(), PixelFormat::Gray8, [1, 1]).is_none());
        assert!(LiveView::new(area, PixelFormat::Gray8, [70_000, 1]).is_none());
        let view = LiveView::new(area, PixelFormat::Rgb888, [2, 2]).unwrap();
        let mut canvas = Canvas::<Rgb565>::new(2, 2, Rgb565::RED);
        view.push_row(&mut canvas, 2, &[255; 6]).unwrap();
        view.push_row(&mut canvas, u32::MAX, &[255; 6]).unwrap();
        assert_eq!(canvas.touches(), 0);
        view.push_row(&mut canvas, 0, &[]).unwrap();
        assert_eq!(canvas.at(Point::zero()), Rgb565::BLACK);
    }
}
