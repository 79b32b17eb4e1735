//! What is known about a frame after it was classified, as outputs take it.

use ocelli_app::classify::softmax_permille;
use serde::Serialize;

/// A class and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub label: String,
    /// Its probability in 1/1000; of a network without softmax, its score's place in the int8 range.
    pub permille: u16,
}

/// A classified frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// A file's name, or which frame of the stream it is.
    pub frame: String,
    /// The best class of this frame alone.
    pub label: String,
    /// Its share in 1/1000.
    pub permille: u16,
    /// The label that is shown, smoothed over frames; `None` is "unknown".
    pub shown: Option<String>,
    /// The shown label's share in 1/1000, or the best one's where it is unknown.
    pub shown_permille: u16,
    /// The best classes of this frame, best first.
    pub top: Vec<Guess>,
    /// From the frame to its scores, in milliseconds.
    pub latency_ms: f64,
    /// Frames a second, over the last ones.
    pub fps: Option<f64>,
    /// The network's int8 output; left out unless it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<i8>,
}

/// The `count` best classes, best first; of equal scores the first class comes first.
#[must_use]
pub fn top(scores: &[i8], labels: &[String], count: usize) -> Vec<Guess> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(scores[class])); // stable
    let guess = |&class: &usize| Guess {
        label: labels.get(class).map_or_else(|| class.to_string(), Clone::clone),
        permille: softmax_permille(scores[class]),
    };
    order.iter().take(count).map(guess).collect()
}

/// The first of the classes with the highest score.
#[must_use]
pub fn best(scores: &[i8]) -> Option<usize> {
    let highest = scores.iter().max()?;
    scores.iter().position(|score| score == highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equals_in_the_models_order() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let found: Vec<_> =
            top(&[-28, 100, 100, -128], &labels, 3).into_iter().map(|guess| (guess.label, guess.permille)).collect();
        assert_eq!(found, [("b".to_owned(), 891), ("c".to_owned(), 891), ("a".to_owned(), 391)]);
        assert_eq!(best(&[-28, 100, 100, -128]), Some(1));
        assert_eq!(top(&[1, 2, 3, 4], &labels, 1)[0].label, "3", "a class without a name has its number");
        assert_eq!(best(&[]), None);
    }
}
