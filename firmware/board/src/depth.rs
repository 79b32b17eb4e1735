//! Looks for the deepest word of a stack that is not as it was painted.

/// What the free stack is painted with, by cortex-m-rt (feature `paint-stack`) or `stack::paint`.
pub(crate) const PAINT: u32 = 0xCCCC_CCCC;
/// Words below the deepest known one that are looked at. A function that takes more for variables that it does not write hides what it calls:
/// the kernels take less than a kilobyte in all.
const WINDOW_WORDS: usize = 256;

/// How many words deep a stack of `words` has been, of which so many are known; 0: none, then all of it is looked at, from its end. `word` reads
/// one, 0 being the first that a stack uses. `None` when its last word is not free.
pub(crate) fn deepest_words(words: usize, known: usize, word: impl Fn(usize) -> u32) -> Option<usize> {
    let mut deepest = known.min(words);
    let mut window = if known == 0 { words } else { WINDOW_WORDS };
    loop {
        let end = deepest.saturating_add(window).min(words);
        match (deepest..end).rev().find(|&depth| word(depth) != PAINT) {
            Some(depth) => (deepest, window) = (depth + 1, WINDOW_WORDS),
            None => break,
        }
    }
    let is_last_free = words > 0 && word(words - 1) == PAINT;
    is_last_free.then_some(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::vec;

    #[test]
    fn only_the_words_below_what_is_known_are_read_and_a_full_stack_is_seen() {
        let mut stack = vec![PAINT; 10_000];
        let read = Cell::new(0);
        let mut known = 0;
        let mut look = |stack: &[u32]| {
            read.set(0);
            let deepest = deepest_words(stack.len(), known, |depth| {
                read.set(read.get() + 1);
                stack[depth]
            });
            known = deepest.unwrap_or(known);
            (deepest, read.get())
        };
        // a variable that nothing was written to, of 500 words, in the middle
        stack[..300].fill(7);
        stack[800..900].fill(7);
        let (deepest, reads) = look(&stack);
        assert!(deepest == Some(900) && reads > 9_000, "at first all of it is read: {reads}");
        assert_eq!(look(&stack), (Some(900), WINDOW_WORDS + 1));
        // deeper by more than is looked at, in steps that are not
        (900..2_000).step_by(200).for_each(|depth| stack[depth] = 7);
        let (deepest, reads) = look(&stack);
        assert!(deepest == Some(1_901) && reads < 2_000, "{deepest:?}, {reads}");
        // far below: seen when it grows, or when it reaches the end
        stack[9_999] = 7;
        assert_eq!(look(&stack).0, None);
        assert_eq!(deepest_words(0, 0, |_| PAINT), None);
        assert_eq!(deepest_words(10, 0, |_| PAINT), Some(0));
        assert_eq!(deepest_words(10, 99, |_| PAINT), Some(10), "it cannot be deeper than it is");
    }
}
