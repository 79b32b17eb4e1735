//! What a page has room for: a few feature maps of every layer always, whole tensors and weights as far as they go.

use super::Inside;

/// Feature maps of a layer that are kept at most where the tensor is not kept whole.
const MAPS: usize = 64;
/// Values of a tensor's kept maps at most; halved until every layer's maps fit into half of the page.
const MAP_VALUES: usize = 1 << 19;
/// Values of a flat tensor (`1x1xn`) that are kept at most where it is not kept whole.
const FLAT_VALUES: usize = 1 << 14;

/// What of a network's data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// By tensor: feature maps kept, the first so many; all of them where it is whole.
    pub maps: Vec<usize>,
    /// By tensor: whether all values are kept, float ones exactly; needed to explain the cells of its readers.
    pub whole: Vec<bool>,
    /// By layer: output channels whose weights are kept.
    pub rows: Vec<usize>,
}

/// Bytes of `bytes` in base64.
const fn base64(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Chooses what is kept in a page of about `budget` bytes: the maps first, then what is smallest.
pub(super) fn plan(inside: &Inside, budget: usize) -> Kept {
    let is_float = |tensor: usize| inside.tensors[tensor].float.is_some();
    let cells = |tensor: usize| inside.tensors[tensor].shape.h as usize * inside.tensors[tensor].shape.w as usize;
    let channels = |tensor: usize| inside.tensors[tensor].shape.c as usize;
    let maps_of = |tensor: usize, values: usize| match cells(tensor) {
        0 | 1 => channels(tensor).min(FLAT_VALUES),
        cells => channels(tensor).min((values / cells).clamp(1, MAPS)),
    };
    let map_bytes = |tensor: usize, maps: usize| (1 + usize::from(is_float(tensor))) * base64(cells(tensor) * maps);
    let count = inside.tensors.len();
    let total = |values: usize| -> usize { (0..count).map(|t| map_bytes(t, maps_of(t, values))).sum() };
    let mut values = MAP_VALUES;
    while total(values) > budget / 2 && values > 1 {
        values /= 2;
    }
    let mut kept = Kept {
        maps: (0..count).map(|tensor| maps_of(tensor, values)).collect(),
        whole: vec![false; count],
        rows: vec![0; inside.layers.len()],
    };
    let mut left = budget.saturating_sub(total(values));
    let whole_bytes = |tensor: usize| {
        let all = cells(tensor) * channels(tensor);
        base64(all) + if is_float(tensor) { base64(4 * all) } else { 0 }
    };
    let mut wanted: Vec<(usize, Item)> = (0..count)
        .map(|tensor| (whole_bytes(tensor).saturating_sub(map_bytes(tensor, kept.maps[tensor])), Item::Tensor(tensor)))
        .collect();
    for (layer, entry) in inside.layers.iter().enumerate() {
        if let Some(row) = entry.numbers.as_ref().map(row_bytes) {
            wanted.push((row * channels(layer + 1), Item::Weights(layer)));
        }
    }
    wanted.sort();
    for (bytes, item) in wanted {
        match item {
            Item::Tensor(tensor) if bytes <= left => {
                (kept.whole[tensor], kept.maps[tensor]) = (true, channels(tensor));
                left -= bytes;
            }
            Item::Tensor(_) => {}
            Item::Weights(layer) => {
                let (all, row) = (channels(layer + 1), (bytes / channels(layer + 1).max(1)).max(1));
                // of weights that are too many some channels' are kept, from a part of what is left
                let rows = if bytes <= left { all } else { left / 2 / row };
                kept.rows[layer] = rows.min(all);
                left -= rows.min(all) * row;
            }
        }
    }
    kept
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Tensor(usize),
    Weights(usize),
}

/// Bytes of one output channel's weights.
fn row_bytes(numbers: &super::Numbers) -> usize {
    base64(numbers.taps * if numbers.float.is_some() { 5 } else { 1 }) + 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Values;
    use crate::explain::page::tests::small;

    #[test]
    fn everything_is_kept_where_there_is_room() {
        let inside = small().inside;
        let kept = plan(&inside, 16 << 20);
        assert!(kept.whole.iter().all(|&whole| whole), "{kept:?}");
        for (tensor, values) in inside.tensors.iter().enumerate() {
            assert_eq!(kept.maps[tensor], values.shape.c as usize);
        }
        for (layer, rows) in kept.rows.iter().enumerate() {
            let all = inside.layers[layer].numbers.as_ref().map_or(0, |_| inside.tensors[layer + 1].shape.c as usize);
            assert_eq!(*rows, all);
        }
    }

    #[test]
    fn a_small_page_keeps_some_maps_of_every_layer_and_stays_small() {
        let inside = small().inside;
        let budget = 20_000;
        let kept = plan(&inside, budget);
        assert!(kept.maps.iter().all(|&maps| maps > 0) && !kept.whole.iter().all(|&whole| whole), "{kept:?}");
        let bytes: usize = (0..inside.tensors.len())
            .map(|t| {
                let Values { shape, .. } = &inside.tensors[t];
                let cells = (shape.h * shape.w) as usize * kept.maps[t];
                let float = match (inside.tensors[t].float.is_some(), kept.whole[t]) {
                    (false, _) => 0,
                    (true, true) => base64(4 * cells),
                    (true, false) => base64(cells),
                };
                base64(cells) + float
            })
            .sum();
        let weights: usize = (0..inside.layers.len())
            .map(|l| inside.layers[l].numbers.as_ref().map_or(0, |n| kept.rows[l] * row_bytes(n)))
            .sum();
        assert!(bytes + weights <= budget, "{bytes} + {weights}: {kept:?}");
    }
}
