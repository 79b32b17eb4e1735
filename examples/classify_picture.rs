//! Classifies a picture that is part of the program: `cargo run --release -p ocelli-app --example classify_picture`.
//!
//! Everything is there when the program is compiled, as on a board: the model in flash, working memory of a known size, no heap.

use ocelli::image::PixelFormat;
use ocelli::model::Aligned;
use ocelli::runtime::Arena;
use ocelli_app::camera::Camera;
use ocelli_app::classify::{Classifier, Memory};
use std::convert::Infallible;
use std::error::Error;

const FILE: &[u8] = include_bytes!("../models/mnist-cnn/model.ocelli");
/// A model is read in place: it lies at a multiple of four bytes.
static MODEL: Aligned<[u8; FILE.len()]> = Aligned(*include_bytes!("../models/mnist-cnn/model.ocelli"));

const SIDE: usize = 28;
/// A digit, a byte a pixel, row after row.
static PICTURE: &[u8; SIDE * SIDE] = include_bytes!("pictures/seven.gray");

/// Words of memory that turn a frame of any size into the network's 28x28 pixels (`FrameConverter::scratch_words`).
const SCRATCH: usize = 3 * 28;

fn main() -> Result<(), Box<dyn Error>> {
    // a board has these in `static` memory; `ocelli compile` prints how much working memory a model takes
    let (mut arena, mut scratch, mut row) = (Arena::<8192>::new(), [0; SCRATCH], [0; SIDE]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let mut classifier = Classifier::load(&MODEL.0, memory)?;
    classifier.classify(&mut BuiltIn { rows: PICTURE.chunks_exact(SIDE) })?;
    for best in classifier.top_k::<3>() {
        let label = classifier.model().label(best.class).unwrap_or("?");
        println!("{label}  {:.1} %", f32::from(best.permille.unwrap_or(0)) / 10.0);
    }
    Ok(())
}

/// A picture as a camera: it gives its rows one by one.
struct BuiltIn {
    rows: std::slice::ChunksExact<'static, u8>,
}

impl Camera for BuiltIn {
    type Error = Infallible;

    fn format(&self) -> PixelFormat {
        PixelFormat::Gray8
    }

    fn size(&self) -> [u32; 2] {
        [SIDE as u32; 2]
    }

    fn begin_frame(&mut self) -> Result<(), Infallible> {
        self.rows = PICTURE.chunks_exact(SIDE);
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Infallible> {
        if let Some(pixels) = self.rows.next() {
            row.copy_from_slice(pixels);
        }
        Ok(())
    }
}
