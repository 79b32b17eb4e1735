//! Weights of four bits for dense layers: which layers take them, and the scale that loses least.

use super::INT4_MAX;
use crate::network::Node;
use anyhow::ensure;
use ocelli::ir::Op;
use serde::{Deserialize, Serialize};

/// The word for all large dense layers.
const LARGE: &str = "large";
/// Weights above which a dense layer is large.
pub const LARGE_WEIGHTS: usize = 64 * 1024;

/// The dense layers whose weights get four bits: their names, or `large` for all with more than [`LARGE_WEIGHTS`] weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
pub struct Int4(Vec<String>);

impl Int4 {
    /// The layers of these names.
    #[must_use]
    pub const fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Whether no layer is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a layer is one of them.
    #[must_use]
    pub fn takes(&self, node: &Node) -> bool {
        let weights = node.op.weight_shape(node.input()).map_or(0, |shape| shape.iter().map(|&n| n as usize).product());
        let named = |name: &String| *name == node.name || (name == LARGE && weights > LARGE_WEIGHTS);
        matches!(node.op, Op::Dense { .. }) && self.0.iter().any(named)
    }

    /// Checks that the network has the layers.
    ///
    /// # Errors
    /// When a name is that of no dense layer; the error names those that there are.
    pub fn check(&self, nodes: &[Node]) -> anyhow::Result<()> {
        let dense = nodes.iter().filter(|node| matches!(node.op, Op::Dense { .. }));
        let dense: Vec<&str> = dense.map(|node| node.name.as_str()).collect();
        for name in self.0.iter().filter(|name| *name != LARGE) {
            ensure!(
                dense.contains(&name.as_str()),
                "int4: there is no dense layer '{name}'; name one of {}, or '{LARGE}' for those of more than {LARGE_WEIGHTS} weights",
                dense.join(", ")
            );
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Int4 {
    fn from(names: OneOrMany) -> Self {
        match names {
            OneOrMany::One(name) => Self(vec![name]),
            OneOrMany::Many(names) => Self(names),
        }
    }
}

impl From<Int4> for Vec<String> {
    fn from(int4: Int4) -> Self {
        int4.0
    }
}

/// The scale for which the squares of the differences between the weights of a channel and their nearest steps add up to least:
/// of shares of the largest weight, the best; then the slope of the weights over their steps, as long as that makes it smaller.
///
/// 0 when all weights are.
pub(super) fn least_error_scale(weights: &[f32]) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let candidates = (5..=50).map(|share| largest * share as f32 / (50.0 * f32::from(INT4_MAX)));
    let errors = candidates.map(|scale| (Fit::of(weights, scale), scale));
    let best = errors.min_by(|a, b| a.0.error.total_cmp(&b.0.error));
    let Some((mut fit, mut scale)) = best else { return largest / f32::from(INT4_MAX) };
    for _ in 0..8 {
        let next = fit.slope();
        let better = Fit::of(weights, next);
        if next <= 0.0 || better.error >= fit.error {
            break;
        }
        (fit, scale) = (better, next);
    }
    scale
}

/// How well steps of a size stand for some weights.
#[derive(Clone, Copy)]
struct Fit {
    /// Squared differences.
    error: f64,
    /// Weights times steps.
    product: f64,
    /// Squared steps.
    square: f64,
}

impl Fit {
    fn of(weights: &[f32], scale: f32) -> Self {
        let (inverse, mut fit) = (1.0 / scale, Self { error: 0.0, product: 0.0, square: 0.0 });
        // short runs in single precision, which the compiler makes vectors of
        for run in weights.chunks(256) {
            let (mut error, mut product, mut square) = (0.0_f32, 0.0_f32, 0.0_f32);
            for weight in run {
                let weight = weight.abs();
                let step = ((weight * inverse + 0.5).min(f32::from(INT4_MAX) + 0.5) as i32) as f32;
                let difference = weight - step * scale;
                error += difference * difference;
                product += weight * step;
                square += step * step;
            }
            fit.error += f64::from(error);
            fit.product += f64::from(product);
            fit.square += f64::from(square);
        }
        fit
    }

    /// The scale of least squares for these steps.
    fn slope(&self) -> f32 {
        (self.product / self.square) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn error(weights: &[f32], scale: f32) -> f64 {
        let nearest = |w: f32| (w / scale).round().clamp(-7.0, 7.0) * scale;
        weights.iter().map(|&w| f64::from(w - nearest(w)).powi(2)).sum()
    }

    #[test]
    fn weights_that_are_steps_are_kept() {
        let weights: Vec<f32> = (-7..=7).map(|step| step as f32 * 0.25).collect();
        assert!((least_error_scale(&weights) - 0.25).abs() < 1e-6);
        assert_eq!(least_error_scale(&[0.0; 3]), 0.0);
        assert_eq!(least_error_scale(&[]), 0.0);
    }

    #[test]
    fn one_large_weight_does_not_spoil_the_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut weights: Vec<f32> = (0..4000).map(|_| (0..6).map(|_| rng.random_range(-0.1..0.1_f32)).sum()).collect();
        weights[17] = 2.0;
        let scale = least_error_scale(&weights);
        let (least, plain) = (error(&weights, scale), error(&weights, 2.0 / 7.0));
        assert!(least < 0.25 * plain, "{least} {plain}");
        // near a least one: no neighbour is better by more than the grid
        for factor in [0.8, 0.9, 1.1, 1.25] {
            assert!(least <= error(&weights, scale * factor), "{factor}");
        }
    }

    #[test]
    fn a_word_or_a_list_name_the_layers() {
        #[derive(Deserialize)]
        struct Table {
            int4: Int4,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.int4);
        assert_eq!(read("int4 = \"large\"").unwrap(), Int4::new(vec!["large".to_owned()]));
        assert_eq!(read("int4 = [\"a\", \"b\"]").unwrap(), Int4::new(vec!["a".to_owned(), "b".to_owned()]));
        assert!(read("int4 = 4").is_err());
    }
}
