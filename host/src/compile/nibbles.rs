//! Dense layers whose weights all lie in -7 to 7: two to a byte.

use anyhow::Context;
use ocelli::kernels::reference::nibble;
use ocelli::model::records::{flag, kind, packed_nibbles, padded};
use ocelli::model::write::ModelFile;

/// Values of a row from which packing takes less than a row of bytes.
const SHORTEST: usize = 5;

/// Packs the weights of the dense layers that four bits are enough for. Loses nothing: only a layer that was quantized to four bits has
/// no larger weight.
///
/// # Errors
/// When an input is too large.
pub fn pack_nibbles(file: &mut ModelFile) -> anyhow::Result<()> {
    for entry in file.ops.iter_mut().filter(|entry| entry.record.kind == kind::DENSE) {
        let input = &file.tensors[usize::from(entry.record.inputs[0])];
        let row = input.shape().elements().context("its input is too large")? as usize;
        let symmetric = entry.record.weight_zero_point == 0 && !entry.record.has(flag::ROUND_ONCE);
        if !symmetric || row < SHORTEST || entry.weights.iter().any(|weight| !(-7..=7).contains(weight)) {
            continue;
        }
        entry.weights = entry.weights.chunks_exact(padded(row)).flat_map(|line| packed(&line[..row])).collect();
        entry.record.flags |= flag::INT4;
    }
    Ok(())
}

/// A row of weights of -7 to 7, two to a byte.
fn packed(row: &[i8]) -> Vec<i8> {
    let mut bytes = Vec::with_capacity(packed_nibbles(row.len()));
    for group in row.chunks(8) {
        let stored = |i: usize| group.get(i).copied().unwrap_or(0) + 8;
        bytes.extend((0..4).map(|j| stored(j) | stored(j + 4) << 4));
    }
    bytes
}

/// The weights of a packed row.
pub fn unpacked(row: &[i8], values: usize) -> impl Iterator<Item = i8> {
    (0..values).map(move |i| (nibble(row, i) - 8) as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_padding_stands_for_zero() {
        for len in 1..40 {
            let row: Vec<i8> = (0..len).map(|i| (i * 5 % 15) as i8 - 7).collect();
            let bytes = packed(&row);
            assert_eq!(bytes.len(), packed_nibbles(row.len()));
            let mut expected = row.clone();
            expected.resize(2 * bytes.len(), 0);
            assert_eq!(unpacked(&bytes, 2 * bytes.len()).collect::<Vec<_>>(), expected);
        }
        // the row of docs/model-format.md
        let bytes: Vec<u8> = packed(&[1, 2, 3, 4, -1, -2, -3, -4, 7, -7]).into_iter().map(i8::cast_unsigned).collect();
        assert_eq!(bytes, [0x79, 0x6a, 0x5b, 0x4c, 0x8f, 0x81, 0x88, 0x88]);
    }
}
