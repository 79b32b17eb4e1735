//! Products with weights of four bits with AVX2: `vpmaddubsw` multiplies 32 bytes without a sign by 32 with one and adds neighbours.
//!
//! A stored weight is at most 15, so that two products are at most `2 * 15 * 128`: four such sums would still fit 16 bits.

use core::arch::x86_64::*;

use crate::kernels::isa::Isa;
use crate::kernels::portable::Portable;

/// Values of a step, two to a byte of weights.
const VALUES: usize = 64;

/// See [`dot_nibbles`](super::super::dot_nibbles).
pub(in super::super) fn dot(values: &[i8], packed: &[i8]) -> i32 {
    let ((values, values_end), (packed, packed_end)) = (values.as_chunks(), packed.as_chunks());
    let ends = match values.len().cmp(&packed.len()) {
        core::cmp::Ordering::Equal => Portable::dot_nibbles(values_end, packed_end),
        core::cmp::Ordering::Less => packed.get(values.len()).map_or(0, |next| Portable::dot_nibbles(values_end, next)),
        core::cmp::Ordering::Greater => {
            values.get(packed.len()).map_or(0, |next| Portable::dot_nibbles(next, packed_end))
        }
    };
    // SAFETY: the level that led here says that the CPU has AVX2, or AVX-512, which no CPU has without.
    ends + unsafe { sum(values, packed) }
}

#[target_feature(enable = "avx2")]
fn sum(values: &[[i8; VALUES]], packed: &[[i8; VALUES / 2]]) -> i32 {
    let (mask, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut sums = _mm256_setzero_si256();
    for (values, packed) in values.iter().zip(packed) {
        // SAFETY: the array is 32 readable bytes.
        let packed = unsafe { _mm256_loadu_si256(packed.as_ptr().cast()) };
        // each half's words are weights of 0 to 3 and of 4 to 7: laid side by side they follow the values
        let low = _mm256_and_si256(packed, mask);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), mask);
        let first = _mm256_maddubs_epi16(_mm256_unpacklo_epi32(low, high), load(values, 0));
        let second = _mm256_maddubs_epi16(_mm256_unpackhi_epi32(low, high), load(values, 16));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_add_epi16(first, second), ones));
    }
    let half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let quarter = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
    _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32::<0b10_11_00_01>(quarter)))
}

/// Sixteen values from `first` on, and sixteen that lie 32 further.
#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[i8; VALUES], first: usize) -> __m256i {
    let half = |first: usize| -> __m128i {
        let bytes: &[i8; 16] = values[first..].first_chunk().unwrap_or(&[0; 16]);
        // SAFETY: the array is sixteen readable bytes.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    _mm256_set_m128i(half(first + 32), half(first))
}
