//! Values into a column of pixel pairs (see [`pairs`](super::super::pairs)).

use crate::kernels::pairs;
use core::arch::naked_asm;

/// See [`Isa::gather`](crate::kernels::isa::Isa::gather). The other pixel of the pair stays as it is.
#[inline(never)]
pub fn gather(column: &mut [i16], first: usize, pixel: usize, values: &[i8]) {
    let count = values.len().min(pairs::room(column).saturating_sub(first));
    if count == 0 {
        return;
    }
    let word = column.as_mut_ptr().cast::<i32>().wrapping_add(2 * first + (pixel >> 1 & 1));
    // SAFETY: there are `count` values, at least one, and as many pairs of words from `first` on, of which `word` is the first or the
    // second of one; the column is aligned as words must be.
    unsafe { if pixel & 1 == 0 { low(word, values.as_ptr(), count) } else { high(word, values.as_ptr(), count) } };
}

/// Value `$i` of the four at `r1` into the word at `r0`, of which every second is one of the pixel's: 7 instructions, 14 bytes.
macro_rules! value {
    ($i:literal, $word:literal, $merge:expr) => {
        concat!(
            "movs r3, #", $i, "\n",
            "ldrsb r3, [r1, r3]\n",
            "ldr r4, [r0, #", $word, "]\n",
            $merge,
            "str r3, [r0, #", $word, "]\n",
        )
    };
}

/// All values, four a turn; the first turn begins as far in as there are fewer.
macro_rules! values {
    ($merge:expr) => {
        naked_asm!(
            "push {{r4, r5, lr}}",
            "rsbs r3, r2, #0",
            "movs r4, #3",
            "ands r3, r4",
            "adds r2, r2, r3",
            "subs r1, r1, r3",
            "lsls r4, r3, #3",
            "subs r0, r0, r4",
            "movs r4, #14",
            "muls r3, r4, r3",
            "add pc, r3", // the program counter is two instructions ahead
            "nop",
            "2:",
            value!("0", "0", $merge),
            value!("1", "8", $merge),
            value!("2", "16", $merge),
            value!("3", "24", $merge),
            "adds r0, r0, #32",
            "adds r1, r1, #4",
            "subs r2, r2, #4",
            "bne 2b",
            "pop {{r4, r5, pc}}",
        )
    };
}

/// Values of pixel 0 or 2.
///
/// # Safety
/// `count` is not 0; `values` holds as many, and from `word` on are as many words, every second counted.
#[unsafe(naked)]
unsafe extern "C" fn low(word: *mut i32, values: *const i8, count: usize) {
    values!("sxth r5, r4\nsubs r4, r4, r5\nadds r3, r3, r4\n")
}

/// Values of pixel 1 or 3.
///
/// # Safety
/// As [`low`]'s.
#[unsafe(naked)]
unsafe extern "C" fn high(word: *mut i32, values: *const i8, count: usize) {
    values!("sxth r4, r4\nlsls r3, r3, #16\nadds r3, r3, r4\n")
}
