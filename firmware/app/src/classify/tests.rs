//! A model of two pixels, cameras that break off, and memory that is too small.

use super::*;
use crate::camera::{Fault, Faults};
use ocelli::image::{ColorOrder, PixelFormat, Resize};
use ocelli::model::Aligned;
use ocelli::model::records::{OpRecord, Tensor};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::quant::Multiplier;
use ocelli::runtime::Arena;
use std::string::ToString;
use std::vec;

/// Pixels from memory; fails after the last.
struct Pictures<'p> {
    size: [u32; 2],
    rows: core::slice::Chunks<'p, u8>,
}

impl Camera for Pictures<'_> {
    type Error = &'static str;

    fn format(&self) -> PixelFormat {
        PixelFormat::Gray8
    }

    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), &'static str> {
        row.copy_from_slice(self.rows.next().ok_or("no more rows")?);
        Ok(())
    }
}

/// Two pixels, each a class of its own: `1x2x1 -> flatten -> softmax`, an input step being 1/8.
pub(crate) fn brighter_pixel() -> Aligned<[u8; 1024]> {
    let tensor = |w, c, offset, last_reader, scale, zero_point| Tensor {
        h: 1,
        w,
        c,
        rows: 1,
        offset,
        last_reader,
        scale,
        zero_point,
    };
    let entry = |name: &str, kind, input, multipliers| OpEntry {
        name: name.to_string(),
        record: OpRecord::new(kind, input),
        weights: vec![],
        bias: vec![],
        multipliers,
    };
    // softmax's input scale times 2^26, as a multiplier: 1/8 * 2^26 = 0.5 * 2^24
    let scale = Multiplier { multiplier: 1 << 30, shift: 24 };
    let spec = InputSpec {
        shape: Shape::new(1, 2, 1),
        color: ColorOrder::Gray,
        resize: Resize::Stretch,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let file = ModelFile {
        tensors: vec![
            tensor(2, 1, 0, 0, 0.125, -128),
            tensor(1, 2, 4, 1, 0.125, -128),
            tensor(1, 2, 8, 1, 1.0 / 256.0, -128),
        ],
        ops: vec![entry("flatten", kind::RESHAPE, 0, vec![]), entry("softmax", kind::SOFTMAX, 1, vec![scale])],
        labels: vec!["left".to_string(), "right".to_string()],
        input: Some((spec, (i8::MIN..=i8::MAX).collect())),
        arena_bytes: 48,
        state: 12,
        scratch: [0, 0],
        lane_bytes: 1,
    };
    let bytes = file.to_bytes().unwrap();
    let mut aligned = Aligned([0; 1024]);
    aligned.0[..bytes.len()].copy_from_slice(&bytes);
    aligned
}

pub(crate) fn file(model: &Aligned<[u8; 1024]>) -> &[u8] {
    let len = u32::from_le_bytes(model.0[12..16].try_into().unwrap());
    &model.0[..len as usize]
}

#[test]
fn each_frame_of_a_camera_is_classified_and_resized() {
    let model = brighter_pixel();
    let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let mut classifier = Classifier::load(file(&model), memory).unwrap();
    // Frames of 4x2: the left half bright, then the right half, then neither.
    let pixels = [[40, 40, 0, 0], [40, 40, 0, 0], [0, 0, 40, 40], [0, 0, 40, 40], [9; 4], [9; 4]].concat();
    let mut camera = Pictures { size: [4, 2], rows: pixels.chunks(4) };
    for best in [Some(0), Some(1), None] {
        let scores = classifier.classify(&mut camera).unwrap().to_vec();
        let top: Vec<Scored, 2> = classifier.top_k();
        assert_eq!(top[0].class, best.unwrap_or(0), "{scores:?}");
        assert_eq!(top[0].permille.unwrap() == 500, best.is_none(), "{scores:?}");
        assert_eq!(classifier.model().label(top[0].class), Some(if best == Some(1) { "right" } else { "left" }));
    }
    assert_eq!(classifier.classify(&mut camera), Err(ClassifyError::Camera("no more rows")));
}

/// A camera that breaks off before the given rows, counted over all frames.
struct Breaking<'p> {
    pictures: Pictures<'p>,
    calls: u32,
    breaks: &'p [(u32, Fault)],
    recovered: vec::Vec<Fault>,
}

impl Camera for Breaking<'_> {
    type Error = Fault;

    fn format(&self) -> PixelFormat {
        PixelFormat::Gray8
    }

    fn size(&self) -> [u32; 2] {
        self.pictures.size
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        self.calls += 1;
        let fault = self.breaks.iter().find(|(call, _)| *call == self.calls);
        fault.map_or(Ok(()), |(_, fault)| Err(*fault))?;
        self.pictures.next_row(row).map_err(|_| Fault::Ended)
    }

    fn recover(&mut self, fault: Fault) -> Result<(), Fault> {
        self.recovered.push(fault);
        if fault == Fault::Bus { Err(Fault::SyncLost) } else { Ok(()) }
    }
}

#[test]
fn a_broken_frame_is_dropped_and_the_next_one_classified() {
    let model = brighter_pixel();
    let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 4]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let mut classifier = Classifier::load(file(&model), memory).unwrap();
    let (left, right) = ([40, 40, 0, 0], [0, 0, 40, 40]);
    // the second call breaks a frame of which one row was seen
    let pixels = [left, right, right, left, left].concat();
    let camera = |breaks| Breaking {
        pictures: Pictures { size: [4, 2], rows: pixels.chunks(4) },
        calls: 0,
        breaks,
        recovered: vec![],
    };
    let mut recovery = Recovery::new(3);
    let mut breaking = camera(&[(2, Fault::LostFrame), (5, Fault::Bus), (6, Fault::SyncLost)]);
    classifier.classify_whole(&mut breaking, &mut recovery).unwrap();
    assert_eq!(classifier.top_k::<1>()[0].class, 1, "rows of the broken frame are no part of the next");
    assert_eq!(recovery.faults(), Faults { lost_frames: 1, sync_lost: 0, bus: 0 });
    // the bus fails, then the recovery from that, and the frame after that: three in a row
    let error = classifier.classify_whole(&mut breaking, &mut recovery).unwrap_err();
    assert_eq!(error, ClassifyError::Camera(Fault::SyncLost));
    assert_eq!(breaking.recovered, [Fault::LostFrame, Fault::Bus, Fault::SyncLost]);
    assert_eq!(recovery.faults(), Faults { lost_frames: 1, sync_lost: 2, bus: 1 });
    let ended = classifier.classify_whole(&mut camera(&[(1, Fault::Ended)]), &mut Recovery::new(9)).unwrap_err();
    assert_eq!(ended, ClassifyError::Camera(Fault::Ended));
}

#[test]
fn memory_that_is_too_small_is_refused_with_what_is_needed() {
    let model = brighter_pixel();
    let load = |arena: &mut [u8], scratch: &mut [u32]| {
        Classifier::load(file(&model), Memory { arena, scratch, row: &mut [] }).map(|_| ()).unwrap_err()
    };
    assert_eq!(load(Arena::<48>::new().bytes_mut(), &mut [0; 5]), SetupError::Scratch { found: 5, needed: 6 });
    let too_small = SetupError::Load(LoadError::Arena { found: 16, needed: 48 });
    assert_eq!(load(Arena::<16>::new().bytes_mut(), &mut [0; 6]), too_small);
    let (mut arena, mut scratch, mut row) = (Arena::<48>::new(), [0; 6], [0; 3]);
    let memory = Memory { arena: arena.bytes_mut(), scratch: &mut scratch, row: &mut row };
    let mut camera = Pictures { size: [4, 2], rows: [].chunks(4) };
    let error = Classifier::load(file(&model), memory).unwrap().classify(&mut camera).unwrap_err();
    assert_eq!(error, ClassifyError::Row { found: 3, needed: 4 });
}

#[test]
fn of_equal_scores_the_lower_class_comes_first() {
    let classes = |best: &[Scored]| best.iter().map(|scored| scored.class).collect::<vec::Vec<_>>();
    assert_eq!(classes(&top_k::<3>(&[-5, 9, -5, 127, 9])), [3, 1, 4]);
    assert_eq!(classes(&top_k::<3>(&[1, 1])), [0, 1]);
    assert_eq!(classes(&top_k::<0>(&[1, 1])), []);
    assert_eq!(classes(&top_k::<3>(&[])), []);
}

#[test]
fn softmax_steps_become_thousandths() {
    assert_eq!([-128, 0, 127].map(softmax_permille), [0, 500, 996]);
}
