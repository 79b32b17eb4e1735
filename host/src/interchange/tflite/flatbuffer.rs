//! A checked reader of FlatBuffers, the format that a .tflite file is written in.
//!
//! All numbers are little-endian. A *table* starts with the signed distance back to its *vtable*: `u16` bytes of the vtable, `u16`
//! bytes of the table, then for each field the `u16` distance from the table's start, 0 when the field is absent and has its
//! default. A string, list or table is a `u32` distance forward from the place where it is written; a list starts with its length.
//!
//! Distances forward cannot make a circle, but many can lead to the same place: a small file could describe far more than it holds.
//! So whoever copies anything out of the file pays for it from a budget that grows with the file ([`Reader::charge`]).

use super::error::TfliteError;
use std::cell::Cell;

/// What copying may cost for each byte of the file. The smallest honest operator with its tensor takes about 85 bytes and costs 600.
const BUDGET_PER_BYTE: usize = 16;
/// What copying may cost in any file: a tiny network has a head like every other.
const BUDGET_BASE: usize = 16 * 1024;
/// The price of an entry in a list of tables: more than the bytes that its description takes in memory.
const TABLE_COST: usize = 256;
/// Bytes before the length, in a string or list.
const LENGTH_BYTES: usize = 4;

/// A field of a table: its number in the schema, and its name for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub u16, pub &'static str);

/// A number as a FlatBuffer holds it.
pub(super) trait Scalar: Copy {
    /// Its size.
    const BYTES: usize;
    /// The number in `bytes`, when these are as many as it takes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! scalars {
    ($($number:ty),*) => {$(
        impl Scalar for $number {
            const BYTES: usize = size_of::<$number>();
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
scalars!(u8, i8, u16, i32, u32, i64, u64, f32);

/// A file and what may still be copied out of it.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    file: &'a [u8],
    budget: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a [u8]) -> Self {
        Self { file, budget: Cell::new(file.len().saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET_BASE)) }
    }

    /// The table that everything else hangs on.
    pub fn root(&self) -> Result<Table<'_, 'a>, TfliteError> {
        Table::open(self, self.follow(0, "root")?, "root")
    }

    /// Pays for `bytes` that are about to be copied.
    pub fn charge(&self, bytes: usize) -> Result<(), TfliteError> {
        let left = self.budget.get().checked_sub(bytes).ok_or(TfliteError::TooMuch { file_bytes: self.file.len() })?;
        self.budget.set(left);
        Ok(())
    }

    /// `len` bytes from byte `at` of the file.
    pub fn slice(&self, at: usize, len: usize, field: &'static str) -> Result<&'a [u8], TfliteError> {
        let end = at.checked_add(len);
        end.and_then(|end| self.file.get(at..end)).ok_or(TfliteError::Broken {
            field,
            at,
            reason: "reaches past the end of the file",
        })
    }

    fn number<T: Scalar>(&self, at: usize, field: &'static str) -> Result<T, TfliteError> {
        // a slice of `T::BYTES` always holds one
        T::read(self.slice(at, T::BYTES, field)?).ok_or(TfliteError::Broken { field, at, reason: "is cut off" })
    }

    /// Where the distance at byte `at` leads.
    fn follow(&self, at: usize, field: &'static str) -> Result<usize, TfliteError> {
        let broken = |reason| TfliteError::Broken { field, at, reason };
        let distance = usize::try_from(self.number::<u32>(at, field)?).map_err(|_| broken("leads too far"))?;
        if distance == 0 {
            return Err(broken("leads to itself"));
        }
        at.checked_add(distance).ok_or(broken("leads too far"))
    }

    /// Length and first element of the list of elements of `size` bytes at byte `at`; all of it lies in the file.
    fn list(&self, at: usize, size: usize, field: &'static str) -> Result<&'a [u8], TfliteError> {
        let broken = |reason| TfliteError::Broken { field, at, reason };
        let len = usize::try_from(self.number::<u32>(at, field)?).map_err(|_| broken("is too long"))?;
        let bytes = len.checked_mul(size).ok_or(broken("is too long"))?;
        let start = at.checked_add(LENGTH_BYTES).ok_or(broken("is too long"))?;
        self.slice(start, bytes, field)
    }
}

/// A table in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'r, 'a> {
    reader: &'r Reader<'a>,
    at: usize,
    bytes: usize,
    entries: &'a [u8],
}

impl<'r, 'a> Table<'r, 'a> {
    fn open(reader: &'r Reader<'a>, at: usize, field: &'static str) -> Result<Self, TfliteError> {
        let broken = |reason| TfliteError::Broken { field, at, reason };
        let back = i64::from(reader.number::<i32>(at, field)?);
        let vtable = i64::try_from(at).ok().and_then(|at| usize::try_from(at - back).ok());
        let vtable = vtable.ok_or(broken("has its description outside the file"))?;
        let vtable_bytes = usize::from(reader.number::<u16>(vtable, field)?);
        let bytes = usize::from(reader.number::<u16>(vtable.saturating_add(2), field)?);
        if vtable_bytes < 4 || vtable_bytes % 2 != 0 || bytes < 4 {
            return Err(broken("has a description that cannot be"));
        }
        reader.slice(at, bytes, field)?;
        let entries = &reader.slice(vtable, vtable_bytes, field)?[4..];
        Ok(Self { reader, at, bytes, entries })
    }

    /// Where `field` of `size` bytes lies in the file, `None` when it is absent.
    fn position(&self, Field(id, name): Field, size: usize) -> Result<Option<usize>, TfliteError> {
        let entry = usize::from(id) * 2;
        let Some(distance) = self.entries.get(entry..entry + 2).and_then(u16::read).filter(|&d| d != 0) else {
            return Ok(None);
        };
        let distance = usize::from(distance);
        if distance < 4 || distance + size > self.bytes {
            return Err(TfliteError::Broken { field: name, at: self.at, reason: "lies outside its table" });
        }
        Ok(Some(self.at + distance))
    }

    /// Where what `field` points at starts, `None` when the field is absent.
    fn target(&self, field: Field) -> Result<Option<usize>, TfliteError> {
        self.position(field, 4)?.map(|at| self.reader.follow(at, field.1)).transpose()
    }

    /// A number, `default` when the field is absent.
    pub fn number<T: Scalar>(&self, field: Field, default: T) -> Result<T, TfliteError> {
        self.position(field, T::BYTES)?.map_or(Ok(default), |at| self.reader.number(at, field.1))
    }

    /// A truth value; absent means false.
    pub fn flag(&self, field: Field) -> Result<bool, TfliteError> {
        Ok(self.number(field, 0_u8)? != 0)
    }

    pub fn table(&self, field: Field) -> Result<Option<Self>, TfliteError> {
        self.target(field)?.map(|at| Self::open(self.reader, at, field.1)).transpose()
    }

    /// A list of tables; absent means empty.
    pub fn tables(&self, field: Field) -> Result<Tables<'r, 'a>, TfliteError> {
        let (start, offsets): (usize, &[u8]) = match self.target(field)? {
            Some(at) => {
                let offsets = self.reader.list(at, 4, field.1)?;
                (at + LENGTH_BYTES, offsets)
            }
            None => (0, &[]),
        };
        Ok(Tables { reader: self.reader, start, offsets, name: field.1 })
    }

    /// A list of numbers, `None` when the field is absent.
    pub fn numbers<T: Scalar>(&self, field: Field) -> Result<Option<Vec<T>>, TfliteError> {
        let Some(at) = self.target(field)? else { return Ok(None) };
        let bytes = self.reader.list(at, T::BYTES, field.1)?;
        self.reader.charge(bytes.len())?;
        Ok(Some(bytes.chunks_exact(T::BYTES).filter_map(T::read).collect()))
    }

    /// A list of bytes where it lies in the file, `None` when the field is absent.
    pub fn bytes(&self, field: Field) -> Result<Option<&'a [u8]>, TfliteError> {
        self.target(field)?.map(|at| self.reader.list(at, 1, field.1)).transpose()
    }

    /// A text; what is not UTF-8 or would steer a terminal is replaced. Absent means empty.
    pub fn text(&self, field: Field) -> Result<String, TfliteError> {
        let bytes = self.bytes(field)?.unwrap_or_default();
        self.reader.charge(bytes.len())?;
        let readable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Ok(String::from_utf8_lossy(bytes).chars().map(readable).collect())
    }
}

/// A list of tables in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables<'r, 'a> {
    reader: &'r Reader<'a>,
    start: usize,
    offsets: &'a [u8],
    name: &'static str,
}

impl<'r, 'a> Tables<'r, 'a> {
    pub fn len(&self) -> usize {
        self.offsets.len() / 4
    }

    /// The table at `index`, `None` past the end of the list.
    pub fn get(&self, index: usize) -> Result<Option<Table<'r, 'a>>, TfliteError> {
        if index >= self.len() {
            return Ok(None);
        }
        let at = self.reader.follow(self.start + index * 4, self.name)?;
        Table::open(self.reader, at, self.name).map(Some)
    }

    /// All tables in order. Pays for a description of each.
    pub fn all(&self) -> Result<impl Iterator<Item = Result<Table<'r, 'a>, TfliteError>>, TfliteError> {
        self.reader.charge(self.len().saturating_mul(TABLE_COST))?;
        let list = *self;
        Ok((0..self.len()).filter_map(move |index| list.get(index).transpose()))
    }
}
