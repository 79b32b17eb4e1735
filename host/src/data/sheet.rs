//! A contact sheet: pictures at a network's input size, plain and augmented side by side.

use super::{Batch, DataError, Dataset, Feed, FeedOptions};
use crate::augment::Augmenter;
use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_6X10};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};
use ocelli::image::ColorOrder;
use std::convert::Infallible;
use std::sync::Arc;

/// Cells in a row.
pub const COLUMNS: usize = 8;
/// Small pictures are enlarged to about this side.
const CELL_PX: usize = 96;
/// Between cells.
const GAP_PX: usize = 6;
/// For a line of text.
const TEXT_PX: usize = 12;
/// Columns of a letter.
const LETTER_PX: usize = 6;

/// Draws a set's pictures with their labels, [`COLUMNS`] in a row; with an augmenter, each picture has a row of its own: plain, then
/// as the first epochs of a training with this seed have it, the pictures of the sheet being a batch. Below one that mixup changed stand
/// the share and the class of the other.
///
/// # Errors
/// None with pictures in memory.
pub fn contact_sheet(
    set: &Arc<Dataset>,
    color: ColorOrder,
    augmenter: Option<&Augmenter>,
    seed: u64,
) -> Result<RgbImage, DataError> {
    let (height, width) = (set.shape.h as usize, set.shape.w as usize);
    let scale = (CELL_PX / height.max(width).max(1)).max(1);
    let (cell_width, cell_height) = (scale * width + GAP_PX, scale * height + TEXT_PX + GAP_PX);
    let columns = if augmenter.is_some() { COLUMNS } else { COLUMNS.min(set.len().max(1)) };
    let rows = if augmenter.is_some() { set.len() } else { set.len().div_ceil(columns) };
    let size =
        [columns * cell_width + GAP_PX, rows * cell_height + GAP_PX].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut sheet = Sheet(RgbImage::from_pixel(size[0], size[1], Rgb([255; 3])));
    let corner = |cell: usize| [GAP_PX + cell % columns * cell_width, GAP_PX + cell / columns * cell_height];
    let shape = [height, width, scale];
    let label = |class: usize| set.labels.get(class).map_or("?", String::as_str);
    for i in 0..set.len() {
        let first = if augmenter.is_some() { i * columns } else { i };
        sheet.picture(corner(first), shape, color, set.input(i), &short(label(set.targets[i]), scale * width));
    }
    let Some(augmenter) = augmenter else { return Ok(sheet.0) };
    let options = FeedOptions {
        batch_size: set.len(),
        seed,
        shuffle: false,
        threads: 0,
        augmenter: Some(augmenter.clone()),
        ..FeedOptions::default()
    };
    let feed = Feed::new(Arc::<Dataset>::clone(set), options);
    let size = set.pixels.len() / set.len().max(1);
    for epoch in 1..columns {
        let Some(batch) = feed.epoch(epoch).next() else { break };
        let Batch { images, partners, .. } = batch?;
        for (i, image) in images.chunks_exact(size.max(1)).enumerate() {
            let partner = partners.as_ref().and_then(|partners| partners.get(i));
            let mixed = partner.map(|&(class, share)| format!("{:.0}% {}", 100.0 * share, label(class)));
            let text = short(&mixed.unwrap_or_default(), scale * width);
            sheet.picture(corner(i * columns + epoch), shape, color, image, &text);
        }
    }
    Ok(sheet.0)
}

/// As much of a text as a cell has room for.
fn short(text: &str, width: usize) -> String {
    let ascii = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(width / LETTER_PX).map(ascii).collect()
}

/// A white sheet; text is black.
struct Sheet(RgbImage);

impl Sheet {
    fn picture(
        &mut self,
        [left, top]: [usize; 2],
        [height, width, scale]: [usize; 3],
        color: ColorOrder,
        pixels: &[u8],
        text: &str,
    ) {
        let channels = color.channels() as usize;
        for y in 0..height * scale {
            for x in 0..width * scale {
                let pixel = &pixels[channels * (y / scale * width + x / scale)..][..channels];
                let rgb = match (color, pixel) {
                    (ColorOrder::Bgr, &[b, g, r]) | (_, &[r, g, b]) => [r, g, b],
                    _ => [pixel[0]; 3],
                };
                self.set(left + x, top + y, rgb);
            }
        }
        let at = [left, top + height * scale + 1].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let style = MonoTextStyle::new(&FONT_6X10, BinaryColor::On);
        let Ok(_) = Text::with_baseline(text, Point::new(at[0], at[1]), style, Baseline::Top).draw(self);
    }

    fn set(&mut self, x: usize, y: usize, rgb: [u8; 3]) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
            *pixel = Rgb(rgb);
        }
    }
}

impl OriginDimensions for Sheet {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Sheet {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            if let (Ok(x), Ok(y), BinaryColor::On) = (usize::try_from(at.x), usize::try_from(at.y), color) {
                self.set(x, y, [0; 3]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::AugmentationConfig;
    use ocelli::image::{InputSpec, Resize};
    use ocelli::ir::Shape;

    fn dataset(count: usize) -> Arc<Dataset> {
        Arc::new(Dataset {
            labels: vec!["cat".to_owned(), "dog".to_owned()],
            shape: Shape::new(32, 48, 3),
            pixels: (0..count).flat_map(|i| [[200, 10 * i as u8, 0]; 32 * 48]).flatten().collect(),
            targets: (0..count).map(|i| i % 2).collect(),
            names: vec![String::new(); count],
            skipped: Vec::new(),
        })
    }

    #[test]
    fn pictures_stand_in_rows_enlarged_with_their_labels_below() {
        let sheet = contact_sheet(&dataset(11), ColorOrder::Rgb, None, 1).unwrap();
        assert_eq!(sheet.dimensions(), (8 * (96 + 6) + 6, 2 * (64 + 12 + 6) + 6));
        // the tenth is the second of the second row
        assert_eq!(sheet.get_pixel(6 + 102 + 50, 6 + 82 + 30), &Rgb([200, 90, 0]));
        let ink = |left: u32| {
            let places = (0..102).flat_map(|x| (0..12).map(move |y| (left + x, 6 + 64 + y)));
            places.filter(|&(x, y)| sheet.get_pixel(x, y) == &Rgb([0; 3])).count()
        };
        assert!(ink(6) > 20 && ink(6) != ink(108));
        let blue_first = contact_sheet(&dataset(11), ColorOrder::Bgr, None, 1).unwrap();
        assert_eq!(blue_first.get_pixel(6 + 102 + 50, 6 + 82 + 30), &Rgb([0, 90, 200]));
    }

    #[test]
    fn augmented_pictures_stand_beside_the_plain_one() {
        let spec = InputSpec {
            shape: Shape::new(32, 48, 3),
            color: ColorOrder::Rgb,
            resize: Resize::Stretch,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let config = AugmentationConfig { brightness: [0.5, 0.9], ..Default::default() };
        let augmenter = Augmenter::new(&config, &spec).unwrap();
        let sheet = |seed| contact_sheet(&dataset(3), ColorOrder::Rgb, Some(&augmenter), seed).unwrap();
        let one = sheet(1);
        assert_eq!(one.height(), 3 * (64 + 12 + 6) + 6);
        let reds: Vec<u8> = (0..8).map(|cell| one.get_pixel(6 + 102 * cell + 50, 40).0[0]).collect();
        assert_eq!(reds[0], 200);
        assert!(reds[1..].iter().all(|red| (100..=180).contains(red)), "{reds:?}");
        assert_eq!(one, sheet(1));
        assert_ne!(one, sheet(2));
    }

    #[test]
    fn mixed_pictures_are_drawn_as_the_training_has_them() {
        let spec = InputSpec {
            shape: Shape::new(32, 48, 3),
            color: ColorOrder::Rgb,
            resize: Resize::Stretch,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let config = AugmentationConfig { mixup: 1.0, ..Default::default() };
        let augmenter = Augmenter::new(&config, &spec).unwrap();
        // each picture is one even green, of 0, 100 and 200: a mixed one is none of these
        let mut set = Arc::unwrap_or_clone(dataset(3));
        set.pixels = (0..3).flat_map(|i| [[200, 100 * i, 0]; 32 * 48]).flatten().collect();
        let set = Arc::new(set);
        let sheet = contact_sheet(&set, ColorOrder::Rgb, Some(&augmenter), 4).unwrap();
        let options = FeedOptions {
            batch_size: 3,
            seed: 4,
            shuffle: false,
            augmenter: Some(augmenter),
            ..FeedOptions::default()
        };
        let feed = Feed::new(Arc::<Dataset>::clone(&set), options);
        let mut mixed = 0;
        for epoch in 1..COLUMNS {
            let batch = feed.epoch(epoch).next().unwrap().unwrap();
            for row in 0..3_usize {
                let green = sheet.get_pixel(6 + 102 * epoch as u32 + 50, 6 + 82 * row as u32 + 30).0[1];
                assert_eq!(green, batch.images[row * set.pixels.len() / 3 + 1]);
                mixed += usize::from(!green.is_multiple_of(100));
            }
        }
        assert!(mixed > 12, "{mixed} of 21");
        let ink = (6 + 102..6 + 204).flat_map(|x| (70..82).map(move |y| (x, y)));
        assert!(
            ink.filter(|&(x, y)| sheet.get_pixel(x, y) == &Rgb([0; 3])).count() > 10,
            "the other's class stands below"
        );
    }
}
