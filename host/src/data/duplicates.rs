//! Pictures that are the same, to the pixel or to the eye.
//!
//! # Source
//! N. Krawetz, "Kind of Like That", <https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html>: the
//! difference hash, taken here along rows and columns.

use super::{RawImage, to_input};
use ocelli::image::{ColorOrder, InputSpec, PixelFormat, Resize};
use ocelli::ir::Shape;
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Side of the small gray picture that stands for a large one.
const SIDE: usize = 18;
/// Side of the grid whose neighbours the difference hash compares.
const GRID: usize = SIDE / 2;
/// Bits of 128 by which the hashes of near duplicates may differ.
const MAX_BITS: u32 = 12;
/// How much the small pictures of near duplicates must be alike: 1 is the same but for brightness and contrast.
const MIN_CORRELATION: f32 = 0.99;
/// Values of 255 by which the means of near duplicates may differ.
const MAX_MEAN_DIFFERENCE: f32 = 16.0;
/// Side of the small picture of colours.
const COLOR_SIDE: usize = 9;
/// Values of 255 by which a colour of near duplicates may differ anywhere: red or blue against green.
const MAX_COLOR_DIFFERENCE: u16 = 24;
/// Above this many different pictures, near duplicates are not looked for: every pair is compared.
const MAX_PICTURES: usize = 60_000;

/// What two pictures are compared by.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    /// Of all pixels and the size.
    exact: u64,
    /// One bit for each pair of neighbours: whether it gets brighter.
    differences: u128,
    /// The small picture without its mean, of length 1; zeros for an even one.
    shape: Box<[f32]>,
    mean: f32,
    /// Red and blue less green of an even smaller picture; nothing of a gray one.
    colors: Box<[i16]>,
}

/// Pictures that are the same; places in the list that was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Twin {
    pub(super) exact: bool,
    pub(super) members: Vec<usize>,
}

impl Fingerprint {
    /// The fingerprint of a picture.
    ///
    /// # Errors
    /// When the picture cannot be made small.
    pub(super) fn of(picture: &RawImage) -> Result<Self, String> {
        let small = small(picture, SIDE, ColorOrder::Gray)?;
        let mean = small.iter().map(|&v| f32::from(v)).sum::<f32>() / small.len() as f32;
        let mut shape: Vec<f32> = small.iter().map(|&v| f32::from(v) - mean).collect();
        let length = shape.iter().map(|v| v * v).sum::<f32>().sqrt();
        // an even picture's rounding is no shape
        let scale = if length > SIDE as f32 { 1.0 / length } else { 0.0 };
        shape.iter_mut().for_each(|v| *v *= scale);
        let colors = colors(picture)?;
        Ok(Self { exact: exact(picture), differences: differences(&small), shape: shape.into(), mean, colors })
    }

    fn is_near(&self, other: &Self) -> bool {
        if (self.differences ^ other.differences).count_ones() > MAX_BITS {
            return false;
        }
        let even = |print: &Self| print.shape.iter().all(|&v| v == 0.0);
        let correlation: f32 = self.shape.iter().zip(&other.shape).map(|(a, b)| a * b).sum();
        let alike = correlation >= MIN_CORRELATION || (even(self) && even(other));
        alike && (self.mean - other.mean).abs() <= MAX_MEAN_DIFFERENCE && self.has_colors_of(other)
    }

    /// Whether the colours are alike everywhere; a gray picture has those that differ from gray nowhere.
    fn has_colors_of(&self, other: &Self) -> bool {
        let of = |print: &Self, i: usize| print.colors.get(i).copied().unwrap_or(0);
        let count = self.colors.len().max(other.colors.len());
        (0..count).all(|i| of(self, i).abs_diff(of(other, i)) <= MAX_COLOR_DIFFERENCE)
    }
}

/// A number of all pixels and the size: pictures that are equal have the same.
pub(super) fn exact(picture: &RawImage) -> u64 {
    let mut hasher = DefaultHasher::new();
    (picture.width, picture.height, &picture.pixels).hash(&mut hasher);
    hasher.finish()
}

/// The picture as a square of `side` pixels.
fn small(picture: &RawImage, side: usize, color: ColorOrder) -> Result<Vec<u8>, String> {
    let side = u32::try_from(side).unwrap_or(u32::MAX);
    let shape = Shape::new(side, side, color.channels());
    let spec = InputSpec { shape, color, resize: Resize::Stretch, mean: [0.0; 3], std: [1.0; 3] };
    to_input(picture, &spec).map_err(|e| e.to_string())
}

fn colors(picture: &RawImage) -> Result<Box<[i16]>, String> {
    if picture.format == PixelFormat::Gray8 {
        return Ok(Box::default());
    }
    let small = small(picture, COLOR_SIDE, ColorOrder::Rgb)?;
    let less = |a: u8, b: u8| i16::from(a) - i16::from(b);
    Ok(small.chunks_exact(3).flat_map(|rgb| [less(rgb[0], rgb[1]), less(rgb[2], rgb[1])]).collect())
}

fn differences(small: &[u8]) -> u128 {
    let cell = |y: usize, x: usize| -> u32 {
        [(0, 0), (0, 1), (1, 0), (1, 1)].iter().map(|(dy, dx)| u32::from(small[(2 * y + dy) * SIDE + 2 * x + dx])).sum()
    };
    let mut bits = 0;
    for y in 0..GRID - 1 {
        for x in 0..GRID - 1 {
            bits =
                (bits << 2) | (u128::from(cell(y, x) < cell(y, x + 1)) << 1) | u128::from(cell(y, x) < cell(y + 1, x));
        }
    }
    bits
}

/// Groups of pictures that are equal, then groups of pictures that are near each other, and whether those were looked for.
pub(super) fn twins(prints: &[Fingerprint]) -> (Vec<Twin>, bool) {
    let mut groups: HashMap<u64, Vec<usize>> = HashMap::new();
    for (i, print) in prints.iter().enumerate() {
        groups.entry(print.exact).or_default().push(i);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort();
    let near = if groups.len() > MAX_PICTURES { None } else { Some(near_groups(prints, &groups)) };
    let mut twins: Vec<Twin> = groups
        .iter()
        .filter(|group| group.len() > 1)
        .map(|group| Twin { exact: true, members: group.clone() })
        .collect();
    for joined in near.iter().flatten().filter(|joined| joined.len() > 1) {
        let mut members: Vec<usize> = joined.iter().flat_map(|&group| groups[group].iter().copied()).collect();
        members.sort_unstable();
        twins.push(Twin { exact: false, members });
    }
    (twins, near.is_some())
}

/// Joins the groups whose pictures are near each other.
fn near_groups(prints: &[Fingerprint], groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let first: Vec<&Fingerprint> = groups.iter().map(|group| &prints[group[0]]).collect();
    let hashes: Vec<u128> = first.iter().map(|print| print.differences).collect();
    let pairs: Vec<(usize, usize)> = (0..first.len())
        .into_par_iter()
        .flat_map_iter(|a| {
            let (first, hashes) = (&first, &hashes);
            (a + 1..first.len())
                .filter(move |&b| (hashes[a] ^ hashes[b]).count_ones() <= MAX_BITS && first[a].is_near(first[b]))
                .map(move |b| (a, b))
        })
        .collect();
    let mut leader: Vec<usize> = (0..groups.len()).collect();
    let find = |leader: &[usize], mut i: usize| {
        while leader[i] != i {
            i = leader[i];
        }
        i
    };
    for (a, b) in pairs {
        let (a, b) = (find(&leader, a), find(&leader, b));
        leader[a.max(b)] = a.min(b);
    }
    let mut joined: HashMap<usize, Vec<usize>> = HashMap::new();
    (0..groups.len()).for_each(|g| joined.entry(find(&leader, g)).or_default().push(g));
    let mut joined: Vec<Vec<usize>> = joined.into_values().collect();
    joined.sort();
    joined
}
