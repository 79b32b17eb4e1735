//! A file written byte by byte from the tables of docs/model-format.md, with nothing of the library's writer or records, and its scores
//! computed by hand. Where the document and the reader part ways, one of these tests fails.

use crate::support::repository;
use ocelli::model::Model;
use ocelli::model::records::{Header, OpRecord, Tensor};
use ocelli::runtime::Session;
use ocelli_host::model::ModelBytes;
use std::mem::offset_of;

/// Little-endian numbers, one after the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, values: &[u8]) -> &mut Self {
        self.0.extend(values);
        self
    }

    fn i8(&mut self, values: &[i8]) -> &mut Self {
        self.0.extend(values.iter().map(|v| v.cast_unsigned()));
        self
    }

    fn u16(&mut self, values: &[u16]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn u32(&mut self, values: &[u32]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn i32(&mut self, values: &[i32]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn f32(&mut self, values: &[f32]) -> &mut Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    /// The table before ends here; the next one starts at `offset`.
    fn at(&mut self, offset: usize) -> &mut Self {
        assert_eq!(self.0.len().next_multiple_of(4), offset);
        self.0.resize(offset, 0);
        self
    }
}

/// CRC-32 bit by bit, as ISO 3309 has it.
fn crc_32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

const NONE: u32 = 0xffff_ffff;

/// A 2x2 convolution with relu over a picture of 2x3, a table of its values in their place, a dense layer.
fn by_hand() -> Vec<u8> {
    let mut file = Writer::default();
    // the header
    file.u8(b"OCELLI\r\n").u16(&[2, 3]).u32(&[724, 84]); // version, operators, bytes of the file and of the arena
    file.u32(&[28, 36, 48]).u32(&[88, 216]).u32(&[NONE, 0]).u32(&[384, 6]); // state, scratch; tensors, operators; labels; names
    file.u8(&[255, 0, 0, 1]).f32(&[0.0; 3]).f32(&[1.0; 3]).u32(&[NONE]); // no picture, layout 0, values stay bytes; no pixel table
    // tensors: h, w, c, rows, offset, last reader, scale, zero point
    file.at(88).u32(&[2, 3, 1, 2, 0, 0]).f32(&[0.5]).i32(&[10]);
    file.u32(&[1, 3, 2, 1, 8, 1]).f32(&[1.0]).i32(&[-5]);
    file.u32(&[1, 3, 2, 1, 8, 2]).f32(&[1.0]).i32(&[4]); // in the place of the one before
    file.u32(&[1, 1, 2, 1, 16, 2]).f32(&[2.0]).i32(&[0]);
    // operator 0: conv2d with relu (-5 is zero), a cell of padding on the left; a tile of one kernel row and both channels
    file.at(216).u8(&[1]).i8(&[-5, 127]).u8(&[0]).u16(&[0, 0xffff]);
    file.u16(&[2, 2, 1, 1, 1, 1]).u16(&[0, 1, 0, 0]).u16(&[1, 0, 4, 2]).u32(&[392, 408, 416, 424, NONE]);
    // operator 1: a table, in place
    file.at(272).u8(&[13]).i8(&[-128, 127]).u8(&[2]).u16(&[1, 0xffff]);
    file.u16(&[1, 1, 1, 1, 1, 1]).u16(&[0; 4]).u16(&[1, 0, 0, 0]).u32(&[428, NONE, NONE, NONE, NONE]);
    // operator 2: dense
    file.at(328).u8(&[4]).i8(&[-128, 127]).u8(&[0]).u16(&[2, 0xffff]);
    file.u16(&[1, 1, 1, 1, 1, 1]).u16(&[0; 4]).u16(&[1, 0, 0, 0]).u32(&[684, 700, 708, 716, 20]);
    file.at(384).u8(b"a\0b\0c\0");
    // conv2d: channel 0 [1 2; 3 4], channel 1 [-1 0; 0 5]; biases 8 and -4, less 10 * 10 and 10 * 4; factors 1/4 and 1/8
    file.at(392).i8(&[1, 2, 0, 0, 3, 4, 0, 0]).i8(&[-1, 0, 0, 0, 0, 5, 0, 0]);
    file.at(408).i32(&[8 - 100, -4 - 40]).at(416).i32(&[1 << 30, 1 << 30]).at(424).i8(&[-1, -2]);
    // the table: -1 - q, that of -128 first
    let mirror: Vec<i8> = (-128..=127).map(|q: i8| -1 - q).collect();
    file.at(428).i8(&mirror);
    // dense: rows of six, padded to eight; biases 10 and 0, less 4 * 6 and 4 * 4; factors 1/2
    file.at(684).i8(&[1, 1, 1, 1, 1, 1, 0, 0]).i8(&[2, 0, -1, 0, 0, 3, 0, 0]);
    file.at(700).i32(&[10 - 24, 0 - 16]).at(708).i32(&[1 << 30, 1 << 30]).at(716).i8(&[0, 0]);
    let crc = crc_32(&file.at(720).0);
    file.u32(&[crc]).at(724);
    file.0
}

/// The picture; less the zero point it is `0 2 4` and `10 -2 20`.
const FRAME: [i8; 6] = [10, 12, 14, 20, 8, 30];

#[test]
fn a_file_written_from_the_document_computes_what_the_document_says() {
    let file = ModelBytes::new(&by_hand());
    let mut arena = [0_u32; 21];
    let mut session = Session::load(file.as_slice(), bytemuck::cast_slice_mut(&mut arena)).unwrap();
    let mut rows = FRAME.chunks_exact(3);
    let mut made = Vec::new();
    for _ in 0..2 {
        let row = rows.next().unwrap();
        let _ = session.push_row_observed(
            |place| place.copy_from_slice(row),
            |step| made.push((step.op, step.row.map(|(y, values)| (y, values.to_vec())))),
        );
    }
    // channel 0: (4*10 + 8) / 4 = 12, (2*2 + 3*10 - 4*2 + 8) / 4 = 8.5: 9, (2 + 2*4 - 3*2 + 4*20 + 8) / 4 = 23; the zero point is -5
    // channel 1: (5*10 - 4) / 8 = 5.75: 6, (-5*2 - 4) / 8 = -1.75: below the relu, (-2 + 5*20 - 4) / 8 = 11.75: 12
    let conv = vec![7, 1, 4, -5, 18, 7];
    let mirrored = vec![-8, -2, -5, 4, -19, -8];
    // (-38 - 6*4 + 10) / 2 = -26; (-2*8 + 5 - 3*8 - 4*4) / 2 = -25.5: the high multiplication takes a tie up
    let scores = vec![-26, -25];
    assert_eq!(made, [(0, Some((0, conv))), (1, Some((0, mirrored))), (2, Some((0, scores.clone())))]);
    assert_eq!(session.output(), scores);
    assert_eq!(session.run_frame(&FRAME).unwrap(), scores);
    let names: Vec<&str> = Model::parse(file.as_slice()).unwrap().names().collect();
    assert_eq!(names, ["a", "b", "c"]);
}

/// A field of a table in the document: offset and name.
type Field = (usize, String);

/// The table under a heading of docs/model-format.md, and the bytes of its record. Checks that every field begins where the one before
/// ends.
fn table(heading: &str) -> (Vec<Field>, usize) {
    let document = std::fs::read_to_string(repository("docs/model-format.md")).unwrap();
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (mut fields, mut end) = (Vec::new(), 0);
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Ok(offset) = cells[1].parse::<usize>() else { continue };
        assert_eq!(offset, end, "{heading}: {line}");
        let (count, kind) = cells[3].split_once(" x ").unwrap_or(("1", cells[3]));
        let bytes = match kind {
            "u8" | "i8" | "byte" => 1,
            "u16" | "i16" => 2,
            "u32" | "i32" | "f32" => 4,
            other => panic!("{heading}: {line}: {other}"),
        };
        end += count.parse::<usize>().unwrap() * bytes;
        fields.push((offset, cells[2].to_owned()));
    }
    (fields, end)
}

/// The fields of a record, by the library.
macro_rules! fields {
    ($record:ty: $($field:ident)*) => {
        (vec![$((offset_of!($record, $field), stringify!($field).to_owned())),*], size_of::<$record>())
    };
}

#[test]
fn the_document_has_every_field_where_the_library_has_it() {
    assert_eq!(
        table("Header"),
        fields!(Header: magic version op_count file_bytes arena_bytes state scratch scratch_bytes tensors ops labels names
            color resize layout lane_bytes mean std pixel_lut)
    );
    assert_eq!(table("Tensor record"), fields!(Tensor: h w c rows offset last_reader scale zero_point));
    assert_eq!(
        table("Operator record"),
        fields!(OpRecord: kind act_min act_max flags inputs kernel stride dilation pads groups weight_zero_point tile_values
            tile_channels weights bias multipliers shifts accumulators)
    );
}
