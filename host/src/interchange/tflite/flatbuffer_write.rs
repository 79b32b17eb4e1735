//! A writer of FlatBuffers, the other side of [`flatbuffer`](super::flatbuffer).
//!
//! A file is a tree: what a table points at is written behind it, so that all distances lead forward. Numbers lie where their size
//! wants them, the bytes of constants at multiples of 16, as TensorFlow Lite's schema asks for.

use super::flatbuffer::Field;
use anyhow::{Context, ensure};

/// Where the bytes of constants start: a multiple of this.
const BYTES_ALIGN: usize = 16;

/// What a field of a table holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Byte(u8),
    Int(i32),
    Uint(u32),
    Float(f32),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
    Text(String),
    Table(Table),
    Tables(Vec<Table>),
}

/// A table: its fields, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table(Vec<(u16, Value)>);

impl Table {
    pub fn with(mut self, field: Field, value: Value) -> Self {
        self.0.push((field.0, value));
        self
    }
}

/// The file that hangs on `root`.
///
/// # Errors
/// When it would be larger than the format allows (2 GB).
pub(super) fn write(root: &Table, identifier: &str) -> anyhow::Result<Vec<u8>> {
    let mut writer = Writer { bytes: vec![0; 4] };
    writer.bytes.extend_from_slice(identifier.as_bytes());
    let at = writer.table(root)?;
    writer.point(0, at)?;
    ensure!(i32::try_from(writer.bytes.len()).is_ok(), "the file would be larger than 2 GB, which the format forbids");
    Ok(writer.bytes)
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Fills up with zeros until `ahead` bytes further on comes a multiple of `align`.
    fn align(&mut self, align: usize, ahead: usize) {
        let end = (self.bytes.len() + ahead).next_multiple_of(align) - ahead;
        self.bytes.resize(end, 0);
    }

    /// Writes at byte `from` the distance to byte `to`.
    fn point(&mut self, from: usize, to: usize) -> anyhow::Result<()> {
        let distance = u32::try_from(to - from)?.to_le_bytes();
        self.bytes.get_mut(from..from + 4).context("a distance outside the file")?.copy_from_slice(&distance);
        Ok(())
    }

    /// Writes a table and all behind it; returns its place.
    fn table(&mut self, table: &Table) -> anyhow::Result<usize> {
        // four bytes each first, single bytes behind them: nothing needs filling up
        let is_byte = |value: &Value| matches!(value, Value::Byte(_));
        let words = table.0.iter().filter(|(_, value)| !is_byte(value));
        let fields: Vec<&(u16, Value)> = words.chain(table.0.iter().filter(|(_, value)| is_byte(value))).collect();
        let ids = table.0.iter().map(|(id, _)| usize::from(*id) + 1).max().unwrap_or(0);
        let mut distances = vec![0_u16; ids];
        let mut end = 4_usize;
        for (id, value) in &fields {
            let place = distances.get_mut(usize::from(*id)).context("a field without a place")?;
            *place = u16::try_from(end)?;
            end += if is_byte(value) { 1 } else { 4 };
        }
        let description = 4 + 2 * ids;
        self.align(4, description);
        let start = self.bytes.len();
        for number in [u16::try_from(description)?, u16::try_from(end)?].iter().chain(&distances) {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&i32::try_from(at - start)?.to_le_bytes());
        for (_, value) in &fields {
            match value {
                Value::Byte(number) => self.bytes.push(*number),
                Value::Int(number) => self.bytes.extend_from_slice(&number.to_le_bytes()),
                Value::Uint(number) => self.bytes.extend_from_slice(&number.to_le_bytes()),
                Value::Float(number) => self.bytes.extend_from_slice(&number.to_le_bytes()),
                _ => self.bytes.extend_from_slice(&[0; 4]), // the distance, when it is known
            }
        }
        for (id, value) in &fields {
            if let Some(target) = self.target(value)? {
                let distance = distances.get(usize::from(*id)).copied().unwrap_or_default();
                self.point(at + usize::from(distance), target)?;
            }
        }
        Ok(at)
    }

    /// Writes what a field points at; returns its place, `None` for a number.
    fn target(&mut self, value: &Value) -> anyhow::Result<Option<usize>> {
        Ok(Some(match value {
            Value::Byte(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => return Ok(None),
            Value::Ints(list) => self.list(list.len(), 4, list.iter().flat_map(|v| v.to_le_bytes()))?,
            Value::Longs(list) => self.list(list.len(), 8, list.iter().flat_map(|v| v.to_le_bytes()))?,
            Value::Floats(list) => self.list(list.len(), 4, list.iter().flat_map(|v| v.to_le_bytes()))?,
            Value::Bytes(list) => self.list(list.len(), BYTES_ALIGN, list.iter().copied())?,
            Value::Text(text) => self.list(text.len(), 4, text.bytes().chain([0]))?,
            Value::Table(table) => self.table(table)?,
            Value::Tables(tables) => {
                let at = self.list(tables.len(), 4, std::iter::repeat_n(0, 4 * tables.len()))?;
                for (index, table) in tables.iter().enumerate() {
                    let target = self.table(table)?;
                    self.point(at + 4 + 4 * index, target)?;
                }
                at
            }
        }))
    }

    /// Writes a list of `count` elements, its first at a multiple of `align`; returns the place of its length.
    fn list(&mut self, count: usize, align: usize, bytes: impl Iterator<Item = u8>) -> anyhow::Result<usize> {
        self.align(align, 4);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&u32::try_from(count)?.to_le_bytes());
        self.bytes.extend(bytes);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interchange::tflite::flatbuffer::Reader;
    use flatbuffers::{ForwardsUOffset, InvalidFlatbuffer, Vector, Verifiable, Verifier, VerifierOptions};

    const INNER: [Field; 2] = [Field(1, "longs"), Field(3, "byte")];

    fn file() -> Vec<u8> {
        let field = |id| Field(id, "test");
        let longs = Value::Longs(vec![-5, 1 << 40]);
        let inner = Table::default().with(INNER[1], Value::Byte(7)).with(INNER[0], longs);
        let root = Table::default()
            .with(field(0), Value::Uint(3))
            .with(field(2), Value::Byte(200))
            .with(field(1), Value::Text("nets".to_owned()))
            .with(field(5), Value::Tables(vec![inner.clone(), Table::default()]))
            .with(field(4), Value::Bytes((0..33).collect()))
            .with(field(6), Value::Floats(vec![0.5, -2.0]))
            .with(field(7), Value::Table(inner))
            .with(field(9), Value::Ints(vec![-1, 9]));
        write(&root, "TEST").unwrap()
    }

    /// What the crate `flatbuffers` checks: bounds, alignment, the end of texts.
    struct Root;
    struct Inner;

    impl Verifiable for Inner {
        fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
            let table = verifier.visit_table(at)?;
            let table = table.visit_field::<ForwardsUOffset<Vector<'_, i64>>>("longs", 4 + 2, false)?;
            table.visit_field::<u8>("byte", 4 + 6, false)?.finish();
            Ok(())
        }
    }

    impl Verifiable for Root {
        fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
            let table = verifier.visit_table(at)?;
            let table = table.visit_field::<u32>("number", 4, true)?.visit_field::<u8>("byte", 4 + 4, true)?;
            let table = table.visit_field::<ForwardsUOffset<&str>>("text", 4 + 2, true)?;
            let table = table.visit_field::<ForwardsUOffset<Vector<'_, u8>>>("bytes", 4 + 8, true)?;
            type Tables = ForwardsUOffset<Vector<'static, ForwardsUOffset<Inner>>>;
            let table = table.visit_field::<Tables>("tables", 4 + 10, true)?;
            let table = table.visit_field::<ForwardsUOffset<Vector<'_, f32>>>("floats", 4 + 12, true)?;
            let table = table.visit_field::<ForwardsUOffset<Inner>>("table", 4 + 14, true)?;
            table.visit_field::<ForwardsUOffset<Vector<'_, i32>>>("ints", 4 + 18, true)?.finish();
            Ok(())
        }
    }

    #[test]
    fn another_implementation_finds_nothing_wrong_with_a_file() {
        let file = file();
        assert!(flatbuffers::buffer_has_identifier(&file, "TEST", false));
        let options = VerifierOptions::default();
        ForwardsUOffset::<Root>::run_verifier(&mut Verifier::new(&options, &file), 0).unwrap();
        let cut = &file[..file.len() - 1];
        assert!(ForwardsUOffset::<Root>::run_verifier(&mut Verifier::new(&options, cut), 0).is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = file();
        let reader = Reader::new(&file);
        let root = reader.root().unwrap();
        assert_eq!(root.number(Field(0, "number"), 0_u32).unwrap(), 3);
        assert_eq!(root.number(Field(2, "byte"), 0_u8).unwrap(), 200);
        assert_eq!(root.number(Field(8, "absent"), 17_u32).unwrap(), 17);
        assert_eq!(root.text(Field(1, "text")).unwrap(), "nets");
        assert_eq!(root.numbers::<f32>(Field(6, "floats")).unwrap().unwrap(), [0.5, -2.0]);
        assert_eq!(root.numbers::<i32>(Field(9, "ints")).unwrap().unwrap(), [-1, 9]);
        let bytes = root.bytes(Field(4, "bytes")).unwrap().unwrap();
        assert_eq!(bytes, (0..33).collect::<Vec<u8>>());
        assert_eq!((bytes.as_ptr() as usize - file.as_ptr() as usize) % 16, 0);
        let tables = root.tables(Field(5, "tables")).unwrap();
        assert_eq!(tables.len(), 2);
        let inner = tables.get(0).unwrap().unwrap();
        assert_eq!(inner.numbers::<i64>(INNER[0]).unwrap().unwrap(), [-5, 1 << 40]);
        assert_eq!(inner.number(INNER[1], 0_u8).unwrap(), 7);
        assert_eq!(tables.get(1).unwrap().unwrap().number(INNER[1], 9_u8).unwrap(), 9);
    }
}
