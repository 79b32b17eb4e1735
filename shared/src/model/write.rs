//! Writes a model file: lays out the tables, then reads the result back through every check.

use super::records::{ALIGN, Header, MAGIC, NO_INPUT, NONE, OpRecord, Tensor, VERSION, flag, layout};
use super::validate::NO_PICTURE;
use super::{LoadError, Model, crc32};
use crate::image::InputSpec;
use crate::quant::Multiplier;
use crate::runtime::Session;
use alloc::string::String;
use alloc::vec::Vec;

/// An operator and its constant tables; the offsets in `record` are filled in by [`ModelFile::to_bytes`].
#[derive(Clone, Debug)]
pub struct OpEntry {
    /// Name, for people.
    pub name: String,
    /// Kind, input, window, clamp and scratch offset.
    pub record: OpRecord,
    /// Weights in the file's layout, or a lookup's table.
    pub weights: Vec<i8>,
    /// One an output channel, zero points folded in.
    pub bias: Vec<i32>,
    /// One an output channel; three for add; one for mul, mean and softmax.
    pub multipliers: Vec<Multiplier>,
}

/// What goes into a model file.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The tensors; tensor 0 is the input, tensor `i + 1` the output of operator `i`.
    pub tensors: Vec<Tensor>,
    /// The operators, in topological order.
    pub ops: Vec<OpEntry>,
    /// Class labels; empty, or one a score.
    pub labels: Vec<String>,
    /// How a picture becomes the input, and the quantized input for each pixel value (`[c, 256]`); `None` for an input that
    /// is no picture.
    pub input: Option<(InputSpec, Vec<i8>)>,
    /// Bytes of working memory.
    pub arena_bytes: u32,
    /// Arena offset of the schedule's state.
    pub state: u32,
    /// Arena offset and bytes of the scratch memory.
    pub scratch: [u32; 2],
    /// Bytes of a widened activation that the scratch memory is for.
    pub lane_bytes: u8,
}

impl OpRecord {
    /// A record of `kind` that reads tensor `input`, with the widest clamp, no window and no tables.
    #[must_use]
    pub const fn new(kind: u8, input: u16) -> Self {
        Self {
            kind,
            act_min: i8::MIN,
            act_max: i8::MAX,
            flags: 0,
            inputs: [input, NO_INPUT],
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [0; 4],
            groups: 1,
            weight_zero_point: 0,
            tile_values: 0,
            tile_channels: 0,
            weights: NONE,
            bias: NONE,
            multipliers: NONE,
            shifts: NONE,
            accumulators: NONE,
        }
    }
}

impl ModelFile {
    /// The bytes of the file.
    ///
    /// # Errors
    /// When the result would not pass [`Session::load`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, LoadError> {
        let mut file = Bytes(Vec::new());
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            op_count: u16::try_from(self.ops.len()).map_err(|_| LoadError::Field { what: "op_count" })?,
            file_bytes: 0,
            arena_bytes: self.arena_bytes,
            state: self.state,
            scratch: self.scratch[0],
            scratch_bytes: self.scratch[1],
            tensors: 0,
            ops: 0,
            labels: [NONE, 0],
            names: [NONE, 0],
            color: NO_PICTURE,
            resize: 0,
            layout: if self.ops.iter().any(|op| op.record.has(flag::BLOCKED)) { layout::BLOCKS } else { layout::ROWS },
            lane_bytes: self.lane_bytes,
            mean: [0.0; 3],
            std: [1.0; 3],
            pixel_lut: NONE,
        };
        file.append(bytemuck::bytes_of(&header))?;
        header.tensors = file.append(bytemuck::cast_slice(&self.tensors))?;
        let mut records: Vec<OpRecord> = self.ops.iter().map(|entry| entry.record).collect();
        header.ops = file.append(bytemuck::cast_slice(&records))?;
        header.labels = file.strings(self.labels.iter())?;
        header.names = file.strings(self.ops.iter().map(|entry| &entry.name))?;
        if let Some((spec, lut)) = &self.input {
            header.color = spec.color.code();
            header.resize = spec.resize.code();
            header.mean = spec.mean;
            header.std = spec.std;
            header.pixel_lut = file.append(bytemuck::cast_slice(lut))?;
        }
        for (record, entry) in records.iter_mut().zip(&self.ops) {
            let factors: Vec<i32> = entry.multipliers.iter().map(|m| m.multiplier).collect();
            let shifts: Vec<i8> = entry.multipliers.iter().map(|m| i8::try_from(m.shift).unwrap_or(0)).collect();
            record.weights = file.append(bytemuck::cast_slice(&entry.weights))?;
            record.bias = file.append(bytemuck::cast_slice(&entry.bias))?;
            record.multipliers = file.append(bytemuck::cast_slice(&factors))?;
            record.shifts = file.append(bytemuck::cast_slice(&shifts))?;
        }
        header.file_bytes = file.offset()?.saturating_add(4);
        file.overwrite(header.ops, bytemuck::cast_slice(&records));
        file.overwrite(0, bytemuck::bytes_of(&header));
        seal(&mut file.0);
        let mut aligned: Vec<u64> = alloc::vec![0; file.0.len().div_ceil(8)];
        let copy: &mut [u8] = bytemuck::cast_slice_mut(&mut aligned);
        if let Some(copy) = copy.get_mut(..file.0.len()) {
            copy.copy_from_slice(&file.0);
            let model = Model::parse(copy)?;
            let words = to_words(model.load_bytes().max(self.arena_bytes));
            Session::with_model(model, bytemuck::cast_slice_mut(&mut alloc::vec![0_u64; words]))?;
        }
        Ok(file.0)
    }
}

fn to_words(bytes: u32) -> usize {
    crate::to_usize(bytes).div_ceil(8)
}

/// Ends a file's bytes with the CRC-32 over them.
pub fn seal(body: &mut Vec<u8>) {
    let crc = crc32(body);
    body.extend_from_slice(&crc.to_le_bytes());
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn offset(&self) -> Result<u32, LoadError> {
        u32::try_from(self.0.len()).map_err(|_| LoadError::Field { what: "file of 4 GiB or more" })
    }

    /// Appends a table and pads to the alignment; an empty one has no place.
    fn append(&mut self, table: &[u8]) -> Result<u32, LoadError> {
        if table.is_empty() {
            return Ok(NONE);
        }
        let offset = self.offset()?;
        self.0.extend_from_slice(table);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        Ok(offset)
    }

    /// Appends zero-terminated strings: `[offset, bytes]`.
    fn strings<'s>(&mut self, strings: impl Iterator<Item = &'s String>) -> Result<[u32; 2], LoadError> {
        let mut text = Vec::new();
        for string in strings {
            text.extend(string.bytes().filter(|&b| b != 0));
            text.push(0);
        }
        let bytes = u32::try_from(text.len()).map_err(|_| LoadError::Field { what: "labels" })?;
        Ok([self.append(&text)?, bytes])
    }

    fn overwrite(&mut self, offset: u32, table: &[u8]) {
        let start = crate::to_usize(offset);
        if let Some(place) = self.0.get_mut(start..start + table.len()) {
            place.copy_from_slice(table);
        }
    }
}
