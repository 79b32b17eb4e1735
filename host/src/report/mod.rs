//! What a run shows: metrics, plots, the board's screen, contact sheets, the report page.

mod canvas;
pub mod caption;
pub mod evaluation;
pub mod figures;
pub mod folder;
pub mod frontier;
pub mod history;
pub mod html;
pub mod metrics;
pub mod pictures;
pub mod plots;
pub mod quantization;
pub mod reliability;
pub mod runs;
mod screen;
pub mod sheet;
pub mod words;

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
