//! Images at a network's input size with their classes, and seeded ways to divide them.

use ocelli::ir::Shape;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::PathBuf;

/// A file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Images at a network's input size, in memory, with the right class of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Class names, in the order of the network's outputs.
    pub labels: Vec<String>,
    /// Rows, columns and channels of an image.
    pub shape: Shape,
    /// Pixel values before normalization, `[n, h, w, c]`.
    pub pixels: Vec<u8>,
    /// The right class of each image.
    pub targets: Vec<usize>,
    /// What to call each image: its file in the dataset's folder, or set and index (`test image 17`).
    pub names: Vec<String>,
    /// Files that could not be used.
    pub skipped: Vec<Skipped>,
}

/// Which of the training images are set aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Holdout {
    /// A share of each class, drawn by the seed.
    Drawn {
        /// The share.
        fraction: f64,
        /// The seed.
        seed: u64,
    },
    /// This share of all, rounded, the last ones in the dataset's order (Keras' `validation_split` of `fit`).
    Last(f64),
    /// This share of each class, the last ones in the dataset's order (Keras' `validation_split` of folders, whose order is by class).
    LastOfEach(f64),
}

impl Holdout {
    /// Whether each image is set aside; `counts` are the images of each class.
    pub(super) fn chosen(self, targets: &[usize], counts: &[usize]) -> Vec<bool> {
        match self {
            Self::Drawn { fraction, seed } => draw(targets, &quotas(counts, fraction), seed),
            Self::Last(share) => {
                let kept = targets.len() - (targets.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
                (0..targets.len()).map(|i| i >= kept).collect()
            }
            Self::LastOfEach(share) => {
                let mut left: Vec<usize> = counts
                    .iter()
                    .map(|&count| count - (count as f64 * share.clamp(0.0, 1.0)).round() as usize)
                    .collect();
                let chosen = targets.iter().map(|&class| {
                    let held_out = left[class] == 0;
                    left[class] = left[class].saturating_sub(1);
                    held_out
                });
                chosen.collect()
            }
        }
    }
}

impl Dataset {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Adds an image of the network's input size.
    pub(super) fn push(&mut self, pixels: &[u8], target: usize, name: String) {
        self.pixels.extend_from_slice(pixels);
        self.targets.push(target);
        self.names.push(name);
    }

    /// The pixels of image `i`, `[h, w, c]`.
    ///
    /// # Panics
    /// When there is no such image.
    #[must_use]
    pub fn input(&self, i: usize) -> &[u8] {
        let size = self.image_len();
        &self.pixels[i * size..(i + 1) * size]
    }

    /// How many images each class has.
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        for &target in &self.targets {
            counts[target] += 1;
        }
        counts
    }

    /// Divides the images into the rest and about `fraction` of each class, drawn by `seed`; both keep the order.
    ///
    /// A class of two or more images keeps at least one in the rest, and gives at least one when `fraction` is above zero.
    /// Skipped files stay with the rest.
    #[must_use]
    pub fn split_off(&self, held_out: Holdout) -> (Self, Self) {
        let chosen = held_out.chosen(&self.targets, &self.class_counts());
        let (part, rest): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&i| chosen[i]);
        let mut part = self.select(&part);
        part.skipped.clear();
        (self.select(&rest), part)
    }

    /// `n` images (or all), each class by its share, drawn by `seed`; they keep the order.
    #[must_use]
    pub fn take(&self, n: usize, seed: u64) -> Self {
        let chosen = draw(&self.targets, &allot(&self.class_counts(), n), seed);
        self.select(&(0..self.len()).filter(|&i| chosen[i]).collect::<Vec<_>>())
    }

    /// The first `n` images (or all).
    #[must_use]
    pub fn head(&self, n: usize) -> Self {
        self.select(&(0..n.min(self.len())).collect::<Vec<_>>())
    }

    fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        for &i in indices {
            pixels.extend_from_slice(self.input(i));
        }
        Self {
            labels: self.labels.clone(),
            shape: self.shape,
            pixels,
            targets: indices.iter().map(|&i| self.targets[i]).collect(),
            names: indices.iter().map(|&i| self.names[i].clone()).collect(),
            skipped: self.skipped.clone(),
        }
    }

    fn image_len(&self) -> usize {
        self.shape.elements().unwrap_or(0) as usize
    }
}

/// About `fraction` of each class; at least one and not all, where there are two.
pub(super) fn quotas(counts: &[usize], fraction: f64) -> Vec<usize> {
    let quota = |&count: &usize| {
        if fraction.is_nan() || fraction <= 0.0 || count < 2 {
            return 0;
        }
        // rounds and saturates
        ((count as f64 * fraction).round() as usize).clamp(1, count - 1)
    };
    counts.iter().map(quota).collect()
}

/// Marks `quotas[class]` images of each class.
pub(super) fn draw(targets: &[usize], quotas: &[usize], seed: u64) -> Vec<bool> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut members = vec![Vec::new(); quotas.len()];
    for (i, &target) in targets.iter().enumerate() {
        members[target].push(i);
    }
    let mut chosen = vec![false; targets.len()];
    for (members, &quota) in members.iter_mut().zip(quotas) {
        members.shuffle(&mut rng);
        for &i in members.iter().take(quota) {
            chosen[i] = true;
        }
    }
    chosen
}

/// Shares `n` out by `counts`: whole shares first, then one more to the largest remainders.
pub(super) fn allot(counts: &[usize], n: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let n = n.min(total);
    let share = |count: usize| n as u128 * count as u128;
    let total = total.max(1) as u128;
    let mut quotas: Vec<usize> = counts.iter().map(|&c| usize::try_from(share(c) / total).unwrap_or(0)).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(share(counts[class]) % total));
    let missing = n - quotas.iter().sum::<usize>();
    for &class in by_remainder.iter().take(missing) {
        quotas[class] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is one pixel of value `i`; class 0 has `a` images, class 1 has `b`, in turn.
    fn dataset(a: usize, b: usize) -> Dataset {
        let targets: Vec<usize> =
            (0..a.max(b)).flat_map(|i| [(0, i < a), (1, i < b)]).filter(|t| t.1).map(|t| t.0).collect();
        Dataset {
            labels: vec!["a".to_owned(), "b".to_owned()],
            shape: Shape::new(1, 1, 1),
            pixels: (0..targets.len()).map(|i| u8::try_from(i).unwrap()).collect(),
            names: (0..targets.len()).map(|i| format!("image {i}")).collect(),
            targets,
            skipped: vec![Skipped { path: "bad".into(), reason: "bad".to_owned() }],
        }
    }

    fn drawn(fraction: f64, seed: u64) -> Holdout {
        Holdout::Drawn { fraction, seed }
    }

    #[test]
    fn the_last_ones_are_the_last_ones_of_all() {
        let whole = dataset(40, 10);
        let (rest, part) = whole.split_off(Holdout::Last(0.3));
        assert_eq!((rest, part.names), (whole.head(35), whole.names[35..].to_vec()));
        let (rest, part) = whole.split_off(Holdout::LastOfEach(0.3));
        assert_eq!((rest.class_counts(), part.class_counts()), (vec![28, 7], vec![12, 3]));
        // the classes take turns up to image 19
        let last = [15, 17, 19].into_iter().chain(38..50).map(|i| whole.names[i].clone());
        assert_eq!(part.names, last.collect::<Vec<_>>());
    }

    #[test]
    fn split_off_takes_the_fraction_of_each_class() {
        let (rest, part) = dataset(40, 10).split_off(drawn(0.2, 7));
        assert_eq!(rest.class_counts(), [32, 8]);
        assert_eq!(part.class_counts(), [8, 2]);
        assert_eq!((rest.skipped.len(), part.skipped.len()), (1, 0));
    }

    #[test]
    fn split_off_loses_and_repeats_nothing_and_moves_images_with_their_targets() {
        let whole = dataset(40, 10);
        let (rest, part) = whole.split_off(drawn(0.3, 1));
        let mut all: Vec<u8> = rest.pixels.iter().chain(&part.pixels).copied().collect();
        all.sort_unstable();
        assert_eq!(all, whole.pixels);
        for half in [&rest, &part] {
            for i in 0..half.len() {
                let original = usize::from(half.input(i)[0]);
                assert_eq!(half.targets[i], whole.targets[original]);
                assert_eq!(half.names[i], whole.names[original]);
            }
        }
    }

    #[test]
    fn a_seed_gives_one_split_and_another_seed_another() {
        let whole = dataset(40, 40);
        assert_eq!(whole.split_off(drawn(0.5, 1)), whole.split_off(drawn(0.5, 1)));
        assert_ne!(whole.split_off(drawn(0.5, 1)), whole.split_off(drawn(0.5, 2)));
        assert_eq!(whole.take(20, 1), whole.take(20, 1));
        assert_ne!(whole.take(20, 1).pixels, whole.take(20, 2).pixels);
    }

    #[test]
    fn split_off_leaves_a_class_at_least_one_image() {
        let (rest, part) = dataset(2, 1).split_off(drawn(1.0, 1));
        assert_eq!((rest.class_counts(), part.class_counts()), (vec![1, 1], vec![1, 0]));
        let (rest, part) = dataset(9, 9).split_off(drawn(f64::NAN, 1));
        assert_eq!((rest.len(), part.len()), (18, 0));
    }

    #[test]
    fn take_is_stratified_and_exact() {
        assert_eq!(dataset(40, 10).take(10, 3).class_counts(), [8, 2]);
        assert_eq!(dataset(5, 5).take(3, 3).len(), 3);
        assert_eq!(dataset(5, 5).take(99, 3), dataset(5, 5));
        assert_eq!(dataset(5, 5).take(0, 3).len(), 0);
    }

    #[test]
    fn head_keeps_the_order() {
        assert_eq!(dataset(5, 5).head(3).pixels, [0, 1, 2]);
        assert_eq!(dataset(5, 5).head(99).len(), 10);
    }
}
