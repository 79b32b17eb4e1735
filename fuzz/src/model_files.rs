//! .ocelli files. The checksum is made right first: what lies behind it is what matters.

use ocelli::model::records::{ALIGN, Header, MAGIC, OpRecord, Tensor, VERSION, kind};
use ocelli::model::{Model, crc32};
use ocelli::runtime::Session;

/// Most working memory that a file is granted, as a board would.
const MAX_ARENA: usize = 1 << 20;
/// Most products, or values looked at, of a frame: a slow input is no finding.
const MAX_PRODUCTS: u64 = 1 << 21;

/// Makes magic, version, length and checksum those of the bytes at hand.
pub fn seal(file: &mut [u8]) {
    let len = file.len();
    if len < size_of::<Header>() + 4 {
        return;
    }
    file[..8].copy_from_slice(&MAGIC);
    file[8..10].copy_from_slice(&VERSION.to_le_bytes());
    file[12..16].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32(&file[..len - 4]);
    file[len - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// Parses a file as it is, and once more with its head and checksum made right.
pub fn ocelli_read(file: &[u8]) {
    with_model(file, |_| ());
    let mut sealed = file.to_vec();
    seal(&mut sealed);
    with_model(&sealed, |model| {
        let labels = model.labels().count();
        assert!(labels == 0 || model.output().is_some_and(|output| output.c as usize == labels));
        assert_eq!(model.names().count(), model.graph().ops.len());
    });
}

/// Parses, loads and runs two frames of noise, whole and in rows; the same frame gives the same scores. Whether it ran.
pub fn ocelli_run(file: &[u8]) -> bool {
    let mut ran = false;
    let mut sealed = file.to_vec();
    seal(&mut sealed);
    with_model(&sealed, |model| {
        let needed = model.arena_bytes() as usize;
        if needed > MAX_ARENA || products(&model).is_none_or(|products| products > MAX_PRODUCTS) {
            return;
        }
        let mut memory = vec![0xa5; needed + ALIGN];
        let Ok(mut session) = Session::with_model(model, aligned(&mut memory, needed)) else { return };
        let fill = |y: u32, row: &mut [i8], frame: u32| {
            for (x, value) in (0_u32..).zip(row) {
                *value = ((x.wrapping_mul(31) ^ y.wrapping_mul(17) ^ frame).wrapping_mul(0x9e37_79b1) >> 24) as i8;
            }
        };
        let first = session.run(|y, row| fill(y, row, 1)).to_vec();
        assert!(!first.is_empty());
        let second = session.run(|y, row| fill(y, row, 0xdead)).to_vec();
        assert_eq!(first.len(), second.len());
        for y in 0..model.input_shape().h {
            session.push_row(|row| fill(y, row, 1));
        }
        assert_eq!(session.output(), first, "a frame's scores do not depend on the frame before");
        ran = true;
    });
    ran
}

/// Products or values looked at of a frame, and the steps of its schedule times operators.
fn products(model: &Model<'_>) -> Option<u64> {
    let graph = model.graph();
    let mut sum = 0_u64;
    for (index, op) in graph.ops.iter().enumerate() {
        let input = graph.tensors.get(usize::from(op.inputs[0]))?.shape();
        let output = u64::from(graph.tensors.get(index + 1)?.shape().elements()?);
        let window = u64::from(op.kernel[0]) * u64::from(op.kernel[1]);
        let each = match op.kind {
            kind::CONV2D => window.checked_mul(u64::from(input.c))?,
            kind::DENSE => u64::from(input.elements()?),
            _ => window,
        };
        sum = sum.checked_add(output.checked_mul(each)?)?.checked_add(u64::from(input.elements()?))?;
        sum = sum.checked_add(u64::from(graph.steps(index)).checked_mul(graph.ops.len() as u64)?)?;
    }
    Some(sum)
}

fn with_model(file: &[u8], then: impl FnOnce(Model<'_>)) {
    // exactly as long as the file, so that AddressSanitizer sees a read behind it
    let mut memory = vec![0; file.len() + ALIGN];
    let copy = aligned(&mut memory, file.len());
    copy.copy_from_slice(file);
    if let Ok(model) = Model::parse(copy) {
        then(model);
    }
}

/// The part of `memory` that is aligned as models and arenas must be.
fn aligned(memory: &mut [u8], len: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(ALIGN);
    &mut memory[start..start + len]
}

/// Values that make a reader go wrong more often than others do.
const CORNERS: [u32; 12] = [0, 1, 2, 3, 4, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX, u32::MAX - 3, 0x0001_0001];

/// Changes one to four fields of the header and the tables behind it, as somebody would who knows the format; the bytes past them keep
/// their meaning. `file[..len]` is the model.
pub fn mutate(file: &mut [u8], len: usize, seed: u32) {
    let Some(model) = file.get_mut(..len).filter(|model| model.len() > size_of::<Header>() + 4) else { return };
    let ops = usize::from(u16::from_le_bytes([model[10], model[11]])).min(64);
    let tables = size_of::<Header>() + (ops + 1) * size_of::<Tensor>() + ops * size_of::<OpRecord>();
    let end = tables.min(len - 4);
    let mut state = seed | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below.max(1)
    };
    for _ in 0..=random(4) {
        let width = [1, 2, 4][random(3)];
        let at = random(end / width) * width;
        let Some(field) = model.get_mut(at..at + width) else { continue };
        let old = field.iter().rev().fold(0_u32, |value, &byte| value << 8 | u32::from(byte));
        let new = match random(6) {
            0 => CORNERS[random(CORNERS.len())],
            1 => old.wrapping_add([1, 2, 4, 8][random(4)]),
            2 => old.wrapping_sub([1, 2, 4, 8][random(4)]),
            3 => old ^ 1 << random(8 * width),
            4 => random(64) as u32,
            _ => old.wrapping_mul(2),
        };
        field.copy_from_slice(&new.to_le_bytes()[..width]);
    }
    seal(model);
}
