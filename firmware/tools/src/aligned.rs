//! Bytes in memory aligned as a model file and an arena must be.

/// A multiple of every alignment that they need.
const ALIGN: usize = 16;

/// Bytes that start at a multiple of 16.
#[derive(Clone, Debug)]
pub(crate) struct Aligned {
    padded: Vec<u8>,
    len: usize,
}

impl Aligned {
    /// Zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { padded: vec![0; len + ALIGN], len }
    }

    /// A copy of `bytes`.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut copy = Self::zeros(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        let start = self.padded.as_ptr().align_offset(ALIGN);
        &self.padded[start..start + self.len] // there are ALIGN more
    }

    /// The bytes.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = self.padded.as_ptr().align_offset(ALIGN);
        &mut self.padded[start..start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_aligned_and_has_the_same_bytes() {
        for len in [0, 1, 15, 16, 4_096] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let copy = Aligned::copy(&bytes);
            assert_eq!(copy.as_slice(), bytes);
            assert_eq!(copy.as_slice().as_ptr().align_offset(ALIGN), 0);
        }
    }
}
