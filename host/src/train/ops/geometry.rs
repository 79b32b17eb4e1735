//! Where the pixels and windows of a convolution lie in an image `[h, w, c]`.

/// The shape of a convolution of ungrouped channels, or of a pool or depthwise convolution (`c_out` is not read there).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    /// Images.
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c_in: usize,
    /// Floats from a pixel to the next; at least `c_in`.
    pub pitch: usize,
    pub c_out: usize,
    /// `[kh, kw]`, and so below.
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Pixels of padding: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Geometry {
    /// Height and width with the padding.
    pub fn padded(&self) -> [usize; 2] {
        let [top, left, bottom, right] = self.pads;
        [self.h + top + bottom, self.w + left + right]
    }

    /// Height and width of the output.
    pub fn out(&self) -> [usize; 2] {
        let padded = self.padded();
        std::array::from_fn(|i| {
            let reach = self.dilation[i] * (self.kernel[i] - 1) + 1;
            if padded[i] < reach { 0 } else { (padded[i] - reach) / self.stride[i] + 1 }
        })
    }

    /// Output pixels of an image.
    pub fn out_pixels(&self) -> usize {
        let [h, w] = self.out();
        h * w
    }

    /// Floats of an image, without padding.
    pub fn image(&self) -> usize {
        self.h * self.w * self.pitch
    }

    /// Values of a window: `kh * kw * c_in`.
    pub fn window(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.c_in
    }

    /// Whether an output pixel depends on one input pixel, the one at its place.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4]
    }

    /// Where the window of each output pixel begins in the padded image.
    pub fn pixels(&self) -> Vec<usize> {
        let [out_h, out_w] = self.out();
        let row = self.padded()[1] * self.pitch;
        let [down, right] = [self.stride[0] * row, self.stride[1] * self.pitch];
        (0..out_h).flat_map(|y| (0..out_w).map(move |x| y * down + x * right)).collect()
    }

    /// The contiguous runs of a window, from its beginning, and their length; together they are `[kh, kw, c_in]`.
    pub fn segments(&self) -> (Vec<usize>, usize) {
        let row = self.padded()[1] * self.pitch * self.dilation[0];
        let [kh, kw] = self.kernel;
        if kw == 1 || (self.dilation[1] == 1 && self.pitch == self.c_in) {
            return ((0..kh).map(|ky| ky * row).collect(), kw * self.c_in);
        }
        let right = self.dilation[1] * self.pitch;
        ((0..kh).flat_map(|ky| (0..kw).map(move |kx| ky * row + kx * right)).collect(), self.c_in)
    }

    /// The image with its padding: itself where there is none, else a copy in `buffer`, whose border must be `border` or empty.
    pub fn pad<'a>(&self, image: &'a [f32], buffer: &'a mut Vec<f32>, border: f32) -> &'a [f32] {
        if self.pads == [0; 4] {
            return image;
        }
        let [height, width] = self.padded();
        let [top, left, ..] = self.pads;
        let row = self.w * self.pitch;
        buffer.resize(height * width * self.pitch, border);
        let lines = buffer.chunks_exact_mut(width * self.pitch).skip(top);
        for (line, from) in lines.zip(image.chunks_exact(row)) {
            line[left * self.pitch..][..row].copy_from_slice(from);
        }
        buffer
    }

    /// The inverse of [`pad`](Self::pad): cuts the padding off.
    pub fn crop(&self, padded: &[f32], image: &mut [f32]) {
        let width = self.padded()[1];
        let [top, left, ..] = self.pads;
        let row = self.w * self.pitch;
        let lines = padded.chunks_exact(width * self.pitch).skip(top);
        for (line, to) in lines.zip(image.chunks_exact_mut(row)) {
            to.copy_from_slice(&line[left * self.pitch..][..row]);
        }
    }

    /// The convolution with turned weights that gives this one's input gradient; `pitch` is that of the output's gradient.
    ///
    /// There is none where the stride leaves gaps, or the padding exceeds the window.
    pub fn transposed(&self, pitch: usize) -> Option<Self> {
        let [out_h, out_w] = self.out();
        let reach: [usize; 2] = std::array::from_fn(|i| self.dilation[i] * (self.kernel[i] - 1));
        let [top, left, bottom, right] = self.pads;
        let pads =
            [(reach[0], top), (reach[1], left), (reach[0], bottom), (reach[1], right)].map(|(r, p)| r.checked_sub(p));
        let [Some(top), Some(left), Some(bottom), Some(right)] = pads else { return None };
        (self.stride == [1, 1]).then_some(Self {
            h: out_h,
            w: out_w,
            c_in: self.c_out,
            pitch,
            c_out: self.c_in,
            pads: [top, left, bottom, right],
            ..*self
        })
    }
}

/// Most groups of a batch: threads that can share an operator's work.
const GROUPS: usize = 16;
/// Groups that keep sums are fewer, down to this, where they would otherwise have few pixels to sum.
const FEW_GROUPS: usize = 4;
/// Pixels that are worth a set of sums.
const PIXELS: usize = 128;
/// Floats that the sums of all groups may take together.
const SUMS: usize = 1 << 22;

/// Images that are worked on together, one group after another on any thread.
///
/// It depends on shapes only, and groups are added up in order: results are the same for every number of threads.
pub(super) const fn images_a_group(n: usize) -> usize {
    let images = n.div_ceil(GROUPS);
    if images == 0 { 1 } else { images }
}

/// The same when each group keeps `sums` floats of its own over the `pixels` of each of its images.
pub(super) fn images_a_summing_group(n: usize, pixels: usize, sums: usize) -> usize {
    let worthwhile = (n * pixels / PIXELS).clamp(FEW_GROUPS, GROUPS);
    let groups = worthwhile.min((SUMS / sums.max(1)).max(2));
    n.div_ceil(groups).max(1)
}

/// Adds up the sums of groups, in order.
pub(super) fn total(mut groups: impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
    let mut sum = groups.next().unwrap_or_default();
    for group in groups {
        for (sum, value) in sum.iter_mut().zip(group) {
            *sum += value;
        }
    }
    sum
}
