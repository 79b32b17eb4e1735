//! A label that flickers, and what smoothing makes of it: `cargo run --release -p ocelli-app --example smooth_labels`.
//!
//! A scene shows a cat, then something between cat and dog, then a dog, then nothing that the network knows. The scores are noisy. Each column
//! is a frame: the best class of that frame, then what votes and averages with hysteresis show (`?` is unknown).
//!
//! The numbers are a good start: an average over about 8 frames, a lead of a tenth, three frames in a row.

use ocelli_app::smooth::{Exponential, Filter, FilterError, Majority, Rules, Smoother};

const LABELS: [char; 3] = ['c', 'd', 'b']; // cat, dog, bird

/// Mean scores of a scene, and the frames that it lasts.
const SCENES: [([i32; 3], u32); 4] =
    [([70, -60, -90], 20), ([0, 0, -100], 24), ([-80, 60, -90], 20), ([-40, -45, -50], 14)];

const RULES: Rules = Rules { unknown_below_permille: 450, margin_permille: 100, hold_frames: 3 };

fn main() -> Result<(), FilterError> {
    let mut votes = Smoother::new(Majority::<8>::new(LABELS.len(), 400)?, RULES);
    let mut averages = Smoother::new(Exponential::<3>::new(LABELS.len(), 3)?, RULES);
    let mut noise = Noise(1);
    let (mut raw, mut voted, mut averaged) = (String::new(), String::new(), String::new());
    for (mean, frames) in SCENES {
        for _ in 0..frames {
            let scores = mean.map(|mean| (mean + noise.next()).clamp(-128, 127) as i8);
            let best = (0..scores.len()).max_by_key(|&class| scores[class]);
            raw.push(best.map_or('?', |class| LABELS[class]));
            voted.push(show(&mut votes, &scores));
            averaged.push(show(&mut averages, &scores));
        }
    }
    for (name, labels) in [("each frame", raw), ("votes", voted), ("averages", averaged)] {
        let changes = labels.chars().zip(labels.chars().skip(1)).filter(|(a, b)| a != b).count();
        println!("{name:>10}  {labels}  {changes} changes");
    }
    Ok(())
}

fn show<F: Filter>(smoother: &mut Smoother<F>, scores: &[i8]) -> char {
    smoother.push(scores).class.map_or('?', |class| LABELS[class])
}

/// A linear congruential generator: -60 to 60, the same in every run.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as i32 % 121 - 60
    }
}
