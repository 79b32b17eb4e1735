//! Averages of a row's pixels for fewer output pixels, each pixel looked at once.

/// Shrinks a row of `n` pixels to the `line.len() / C` of `line`, weighted by the triangle of `Axis`, rounded to the nearest.
///
/// # Arithmetic
/// Between the centres of two outputs the weights of both are straight lines: at a pixel `d` behind the centre of the one before, that
/// one's is `2 n - d` and the next one's `d`, with `d` growing by `2 out` from pixel to pixel. So the sum of the pixels and the sum of their
/// running sums give the weighted sums of both: two additions for a pixel and channel, and no multiplication.
///
/// # Shapes
/// `pixels`: `n` of `C` channels, each of at most 255; `line`: `[out, C]` with `out <= n`, for which `Axis::fits` holds.
pub(super) fn shrink<const C: usize>(n: u32, line: &mut [u32], mut pixels: impl Iterator<Item = [u8; C]>) {
    let out = u32::try_from(line.len() / C).unwrap_or(0);
    // from where an output before the first one would have its centre
    let mut walk = Walk { pitch: 2 * n, step: 2 * out, d: n + out, left: n };
    let mut before = Part { sums: [0; C], weights: 0 };
    let mut outputs = line.chunks_exact_mut(C);
    for number in 0..=out {
        let here = walk.stretch(&mut pixels);
        if number > 0 {
            let total = (before.weights + here.previous.weights).max(1);
            let sums = before.sums.into_iter().zip(here.previous.sums);
            for (out, (a, b)) in outputs.next().into_iter().flatten().zip(sums) {
                *out = (a + b + total / 2) / total;
            }
        }
        before = here.next;
    }
}

/// A weighted sum in the making.
#[derive(Clone, Copy)]
struct Part<const C: usize> {
    sums: [u32; C],
    weights: u32,
}

/// What the pixels between two centres add to the outputs there.
struct Stretch<const C: usize> {
    previous: Part<C>,
    next: Part<C>,
}

/// Where in the row.
struct Walk {
    /// From centre to centre.
    pitch: u32,
    /// From pixel to pixel.
    step: u32,
    /// How far the next pixel is behind the centre before it.
    d: u32,
    /// Pixels still to come.
    left: u32,
}

impl Walk {
    #[inline(always)]
    fn stretch<const C: usize>(&mut self, pixels: &mut impl Iterator<Item = [u8; C]>) -> Stretch<C> {
        let Self { pitch, step, d, left } = *self;
        let count = pitch.saturating_sub(d).div_ceil(step.max(1)).min(left);
        let (mut plain, mut running) = ([0_u32; C], [0_u32; C]);
        for pixel in pixels.take(crate::to_usize(count)) {
            for ((plain, running), value) in plain.iter_mut().zip(&mut running).zip(pixel) {
                *plain += u32::from(value);
                *running += *plain;
            }
        }
        self.left -= count;
        self.d = (d + step * count).saturating_sub(pitch);
        let weights = count * d + step * (count * count.saturating_sub(1) / 2);
        let (mut previous, mut next) = ([0; C], [0; C]);
        for (((previous, next), plain), running) in previous.iter_mut().zip(&mut next).zip(plain).zip(running) {
            // of the pixel numbers k from 0 on, the sum of k times the pixel is count * plain - running
            *next = d * plain + step * (count * plain - running);
            *previous = pitch * plain - *next;
        }
        Stretch {
            previous: Part { sums: previous, weights: pitch * count - weights },
            next: Part { sums: next, weights },
        }
    }
}
