//! What training needs to know of a layer beside its operator: bias, first weights, penalty.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;

/// The options of a layer with weights; other layers have the defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerOptions {
    /// Whether a bias is trained (Keras' `use_bias`).
    pub bias: bool,
    /// How the weights start.
    pub initializer: Initializer,
    /// Factor of the sum of the squared weights that is added to the loss (Keras' `kernel_regularizer = l2(..)`).
    pub l2: f64,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self { bias: true, initializer: Initializer::default(), l2: 0.0 }
    }
}

/// How weights start; biases start at zero.
///
/// # Source
/// Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, equation 16; He et al.,
/// "Delving Deep into Rectifiers", 2015, section 2.2. The names and the cut normal distributions are Keras'.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Initializer {
    /// `U(-k, k)` with `k = sqrt(6 / (fan_in + fan_out))`.
    #[default]
    GlorotUniform,
    /// Variance `2 / (fan_in + fan_out)`, normal, cut at two deviations.
    GlorotNormal,
    /// `U(-k, k)` with `k = sqrt(6 / fan_in)`.
    HeUniform,
    /// Variance `2 / fan_in`, normal, cut at two deviations.
    HeNormal,
    /// Normal about zero.
    Normal {
        /// Its deviation.
        stddev: f64,
    },
    /// All zero.
    Zeros,
}

/// Deviation of the standard normal distribution once it is cut at two deviations.
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// Each initializer without numbers of its own, by its name in `net.toml`.
    const NAMED: [(&'static str, Self); 5] = [
        ("glorot-uniform", Self::GlorotUniform),
        ("glorot-normal", Self::GlorotNormal),
        ("he-uniform", Self::HeUniform),
        ("he-normal", Self::HeNormal),
        ("zeros", Self::Zeros),
    ];

    /// The initializer of that name; only `"normal"` takes a deviation (0.05 when none is given).
    ///
    /// # Errors
    /// When there is none, or the deviation does not belong to it.
    pub fn from_name(name: &str, stddev: Option<f64>) -> Result<Self, String> {
        if name == "normal" {
            let stddev = stddev.unwrap_or(0.05);
            if !(stddev.is_finite() && stddev > 0.0) {
                return Err(format!("stddev = {stddev} must be above 0"));
            }
            return Ok(Self::Normal { stddev });
        }
        if stddev.is_some() {
            return Err("the key 'stddev' belongs to initializer = \"normal\"".to_owned());
        }
        let known = || Self::NAMED.map(|(name, _)| name).join(", ");
        let found = Self::NAMED.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, i)| i).ok_or_else(|| format!("initializer = \"{name}\" is not one of normal, {}", known()))
    }

    /// Its name in `net.toml`, and the deviation where it has one.
    #[must_use]
    pub fn name(self) -> (&'static str, Option<f64>) {
        match self {
            Self::Normal { stddev } => ("normal", Some(stddev)),
            other => (Self::NAMED.into_iter().find(|(_, i)| *i == other).map_or("", |(name, _)| name), None),
        }
    }

    /// `count` weights of a layer in which an output sees `fan_in` values and an input is seen by `fan_out`.
    #[must_use]
    pub fn sample(self, count: usize, fan_in: usize, fan_out: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let (fan_in, mean_fan) = (fan_in.max(1) as f64, (fan_in + fan_out).max(1) as f64 / 2.0);
        match self {
            Self::GlorotUniform => {
                let limit = (6.0 / (fan_in as usize + fan_out).max(1) as f32).sqrt();
                (0..count).map(|_| rng.random_range(-limit..limit)).collect()
            }
            Self::HeUniform => {
                let limit = (6.0 / fan_in).sqrt() as f32;
                (0..count).map(|_| rng.random_range(-limit..limit)).collect()
            }
            Self::GlorotNormal => cut_normal(count, mean_fan.recip().sqrt() / CUT_DEVIATION, rng),
            Self::HeNormal => cut_normal(count, (2.0 / fan_in).sqrt() / CUT_DEVIATION, rng),
            Self::Normal { stddev } => (0..count).map(|_| (normal(rng) * stddev) as f32).collect(),
            Self::Zeros => vec![0.0; count],
        }
    }
}

/// Normal values about zero, those beyond two deviations drawn again.
fn cut_normal(count: usize, deviation: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut draw = || loop {
        let value = normal(rng);
        if value.abs() <= 2.0 {
            return (value * deviation) as f32;
        }
    };
    (0..count).map(|_| draw()).collect()
}

/// A standard normal value (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn deviations_are_those_of_the_papers() {
        let (fan_in, fan_out) = (72, 128);
        for (initializer, variance, limit) in [
            (Initializer::GlorotUniform, 2.0 / 200.0, (6.0_f64 / 200.0).sqrt()),
            (Initializer::GlorotNormal, 2.0 / 200.0, 2.0 * (2.0_f64 / 200.0).sqrt() / CUT_DEVIATION),
            (Initializer::HeUniform, 2.0 / 72.0, (6.0_f64 / 72.0).sqrt()),
            (Initializer::HeNormal, 2.0 / 72.0, 2.0 * (2.0_f64 / 72.0).sqrt() / CUT_DEVIATION),
            (Initializer::Normal { stddev: 0.3 }, 0.09, 3.0),
            (Initializer::Zeros, 0.0, 0.0),
        ] {
            let values = initializer.sample(40_000, fan_in, fan_out, &mut ChaCha8Rng::seed_from_u64(3));
            let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            assert!((square - variance).abs() <= 0.03 * variance, "{initializer:?}: {square} for {variance}");
            assert!(mean.abs() <= 0.02 * variance.sqrt(), "{initializer:?}: {mean}");
            assert!(values.iter().all(|v| f64::from(v.abs()) <= limit + 1e-6), "{initializer:?}");
            let (name, stddev) = initializer.name();
            assert_eq!(Initializer::from_name(name, stddev), Ok(initializer));
        }
        assert!(Initializer::from_name("xavier", None).unwrap_err().contains("glorot-uniform"));
        assert!(Initializer::from_name("zeros", Some(1.0)).unwrap_err().contains("stddev"));
    }
}
