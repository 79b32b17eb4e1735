//! What a run shows: plots, the board's screen, the confusion matrix.

pub mod plots;
mod screen;

pub use screen::screen_png;

/// Counts of true class (rows) and guessed class (columns).
#[must_use]
pub fn confusion(classes: usize, targets: &[usize], guesses: &[usize]) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (&target, &guess) in targets.iter().zip(guesses) {
        if let Some(count) = counts.get_mut(target).and_then(|row| row.get_mut(guess)) {
            *count += 1;
        }
    }
    counts
}
