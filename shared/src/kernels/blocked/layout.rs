//! Weights in blocks of sixteen output channels: one 64-byte load holds four values of each.
//!
//! A convolution's weights are `[ceil(c_out / 16)][groups][16][4]`. The groups run over the kernel's *segments*: stretches of values
//! that lie next to each other in the input too, each padded with zeros to a multiple of four values. A kernel row is one segment
//! of `kw * c_in` values when its columns are not dilated, and `kw` segments of `c_in` values when they are.
//!
//! A depthwise convolution's weights are `[kh * kw][c rounded up to 16]`.

#[cfg(feature = "alloc")]
use alloc::{vec, vec::Vec};

/// Output channels of a block.
pub const BLOCK: usize = 16;
/// Values of one channel that lie together.
pub const GROUP: usize = 4;
/// Bytes of a group of a block.
pub(super) const GROUP_BYTES: usize = BLOCK * GROUP;

/// Where the weights of a convolution lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Output channels.
    pub c_out: usize,
    /// Kernel `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Input channels.
    pub c_in: usize,
    /// Whether a kernel row is one segment (its columns are neighbours) or `kw` of them.
    joined: bool,
}

impl Layout {
    /// The layout for a kernel `[kh, kw]` whose columns are `dilation` apart. A dense layer is a 1x1 kernel over its inputs.
    #[must_use]
    pub const fn new(c_out: usize, kernel: [usize; 2], c_in: usize, dilation: usize) -> Self {
        Self { c_out, kernel, c_in, joined: dilation == 1 || kernel[1] == 1 }
    }

    /// Segments of a kernel row.
    #[must_use]
    pub const fn segments(&self) -> usize {
        if self.joined { 1 } else { self.kernel[1] }
    }

    /// Groups of a segment.
    #[must_use]
    pub const fn segment_groups(&self) -> usize {
        (if self.joined { self.kernel[1] * self.c_in } else { self.c_in }).div_ceil(GROUP)
    }

    /// Groups of a block: the whole kernel.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.kernel[0] * self.segments() * self.segment_groups()
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.c_out.div_ceil(BLOCK) * self.groups() * GROUP_BYTES
    }

    /// As [`len_bytes`](Self::len_bytes); `None` when that does not fit this core's words.
    #[must_use]
    pub fn checked_len_bytes(&self) -> Option<usize> {
        self.c_out.div_ceil(BLOCK).checked_mul(self.groups())?.checked_mul(GROUP_BYTES)
    }

    /// Index of the weight from input channel `c` of kernel cell `(ky, kx)` to output channel `o`.
    #[inline]
    #[must_use]
    pub const fn index(&self, o: usize, ky: usize, kx: usize, c: usize) -> usize {
        let (segment, value) = if self.joined { (0, kx * self.c_in + c) } else { (kx, c) };
        let group = (ky * self.segments() + segment) * self.segment_groups() + value / GROUP;
        ((o / BLOCK * self.groups() + group) * BLOCK + o % BLOCK) * GROUP + value % GROUP
    }

    /// The weight from input channel `c` of kernel cell `(ky, kx)` to output channel `o`; zero beyond the end of `packed`.
    #[inline]
    #[must_use]
    pub fn weight_at(&self, packed: &[i8], o: usize, ky: usize, kx: usize, c: usize) -> i8 {
        packed.get(self.index(o, ky, kx, c)).copied().unwrap_or(0)
    }
}

/// Packs a convolution's weights.
///
/// # Shapes
/// `ohwi`: `[c_out, kh, kw, c_in]`; missing weights count as zero.
#[cfg(feature = "alloc")]
#[must_use]
pub fn pack(ohwi: &[i8], layout: &Layout) -> Vec<i8> {
    let mut packed = vec![0; layout.len_bytes()];
    let [kh, kw] = layout.kernel;
    let places = (0..layout.c_out)
        .flat_map(|o| (0..kh).flat_map(move |ky| (0..kw).map(move |kx| (o, ky, kx))))
        .flat_map(|(o, ky, kx)| (0..layout.c_in).map(move |c| layout.index(o, ky, kx, c)));
    for (place, &weight) in places.zip(ohwi) {
        packed[place] = weight;
    }
    packed
}

/// Packs a depthwise convolution's weights: pads `c` channels to a multiple of sixteen.
///
/// # Shapes
/// `weights`: `[kh * kw, c]`.
#[cfg(feature = "alloc")]
#[must_use]
pub fn pack_depthwise(weights: &[i8], c: usize) -> Vec<i8> {
    let stride = c.next_multiple_of(BLOCK);
    let mut packed = vec![0; weights.len().checked_div(c).unwrap_or(0) * stride];
    for (to, from) in packed.chunks_exact_mut(stride.max(1)).zip(weights.chunks_exact(c.max(1))) {
        to[..c].copy_from_slice(from);
    }
    packed
}

/// The table [`Blocked::sums`](super::Blocked::sums) of a convolution.
///
/// # Shapes
/// `ohwi`: `[c_out, kh, kw, c_in]`.
#[cfg(feature = "alloc")]
#[must_use]
pub fn sums(ohwi: &[i8], c_out: usize) -> Vec<i32> {
    let filter = ohwi.len().checked_div(c_out).unwrap_or(0).max(1);
    ohwi.chunks_exact(filter).map(|filter| filter.iter().map(|&w| i32::from(w)).sum()).collect()
}

/// The table [`Blocked::sums`](super::Blocked::sums) of a depthwise convolution.
///
/// # Shapes
/// `weights`: `[kh * kw, c]`.
#[cfg(feature = "alloc")]
#[must_use]
pub fn depthwise_sums(weights: &[i8], c: usize) -> Vec<i32> {
    let mut sums = vec![0; c];
    for cell in weights.chunks_exact(c.max(1)) {
        for (sum, &weight) in sums.iter_mut().zip(cell) {
            *sum += i32::from(weight);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_block_holds_four_values_of_sixteen_channels_side_by_side() {
        let layout = Layout::new(20, [2, 3], 3, 1);
        assert_eq!((layout.segment_groups(), layout.groups(), layout.len_bytes()), (3, 6, 2 * 6 * 64));
        assert_eq!(layout.index(0, 0, 0, 0), 0);
        assert_eq!(layout.index(1, 0, 0, 0), 4, "the next channel");
        assert_eq!(layout.index(0, 0, 1, 0), 3, "the next column follows at once");
        assert_eq!(layout.index(0, 0, 1, 1), 64, "the next group");
        assert_eq!(layout.index(0, 1, 0, 0), 3 * 64, "the next kernel row starts a group");
        assert_eq!(layout.index(16, 0, 0, 0), 6 * 64, "the next block");
        assert_eq!(Layout::new(20, [2, 3], 3, 2).index(0, 0, 1, 0), 64, "a dilated column starts a group");
    }

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for dilation in [1, 2] {
            let layout = Layout::new(17, [2, 3], 5, dilation);
            let mut places = BTreeSet::new();
            for (o, ky, kx, c) in (0..17).flat_map(|o| (0..30).map(move |i| (o, i / 15, i / 5 % 3, i % 5))) {
                let place = layout.index(o, ky, kx, c);
                assert!(place < layout.len_bytes());
                assert!(places.insert(place));
            }
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn packing_puts_each_weight_where_the_index_says() {
        let ohwi: Vec<i8> = (0..17 * 2 * 3 * 5).map(|i: i32| i.wrapping_mul(37) as i8).collect();
        for dilation in [1, 2] {
            let layout = Layout::new(17, [2, 3], 5, dilation);
            let packed = pack(&ohwi, &layout);
            for (i, &weight) in ohwi.iter().enumerate() {
                assert_eq!(layout.weight_at(&packed, i / 30, i / 15 % 2, i / 5 % 3, i % 5), weight);
            }
        }
        assert_eq!(sums(&[1, 2, 3, -4], 2), [3, -1]);
        assert_eq!(depthwise_sums(&[1, 2, 3, -4], 2), [4, -2]);
        assert_eq!(pack_depthwise(&[1, 2, 3, 4], 2)[14..20], [0, 0, 3, 4, 0, 0]);
    }
}
