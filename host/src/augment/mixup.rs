//! Mixup: two images of a batch become one, and so do their classes.
//!
//! # Source
//! H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The share that the partner has in the mix, at most a half: drawn from Beta(alpha, alpha), the smaller side taken. The image itself
/// keeps the larger share, so that accuracy can still be told from its own class. (The pair and its mirror are equally likely: the mixes are
/// those of the paper.)
///
/// # Source
/// M. D. Jöhnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", Metrika 8 (1964), here in logarithms, so that a
/// small alpha does not underflow. Meant for alpha of at most 1, where at least half of all tries are taken.
#[must_use]
pub fn share(alpha: f64, rng: &mut ChaCha8Rng) -> f32 {
    loop {
        // 1 - u lies above zero
        let (u, v) = (1.0 - rng.random::<f64>(), 1.0 - rng.random::<f64>());
        let (x, y) = (u.ln() / alpha, v.ln() / alpha);
        let larger = x.max(y);
        let sum = larger + ((x - larger).exp() + (y - larger).exp()).ln();
        if sum <= 0.0 {
            let share = (x - sum).exp().min(1.0);
            return share.min(1.0 - share) as f32;
        }
    }
}

/// Mixes `partner` into `image` by its share.
pub fn mix(image: &mut [u8], partner: &[u8], share: f32) {
    // in 1/2^16; the share lies between 0 and 1
    let share = (65_536.0 * share).round() as u32;
    for (a, &b) in image.iter_mut().zip(partner) {
        *a = ((u32::from(*a) * (65_536 - share) + u32::from(b) * share + 32_768) >> 16) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn shares_have_the_mean_and_the_spread_of_the_beta_distribution() {
        for alpha in [0.01, 0.2, 1.0] {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let shares: Vec<f64> = (0..20_000).map(|_| share(alpha, &mut rng).into()).collect();
            assert!(shares.iter().all(|s| (0.0..=0.5).contains(s)));
            // unfolded, the mean is 1/2 and the variance 1 / (4 (2 alpha + 1)); folding keeps the squared distance to 1/2
            let variance = shares.iter().map(|s| (s - 0.5).powi(2)).sum::<f64>() / shares.len() as f64;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((variance - expected).abs() < 0.004, "alpha {alpha}: {variance}, expected {expected}");
        }
    }

    #[test]
    fn a_mix_is_the_weighted_mean() {
        let mut image = [0, 255, 100, 7];
        mix(&mut image, &[255, 0, 200, 7], 0.25);
        assert_eq!(image, [64, 191, 125, 7]);
        mix(&mut image, &[1, 2, 3, 4], 0.0);
        assert_eq!(image, [64, 191, 125, 7]);
    }
}
