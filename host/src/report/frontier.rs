//! Accuracy for memory: each network beside the best of the others that needs no more RAM and was judged by the same set.

use super::runs::RunLine;
use serde::Serialize;
use std::path::PathBuf;

/// A compiled network among those that were judged by the same set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// Its run folder.
    pub run: PathBuf,
    /// Name of the network.
    pub network: String,
    /// The set that it was judged by, in words; what trainings set aside is told by its number alone.
    pub on: String,
    /// Accuracy of the compiled model.
    pub accuracy: f64,
    /// Bytes of the compiled model.
    pub flash_bytes: u64,
    /// Bytes of its working memory.
    pub ram_bytes: u64,
    /// The best other network, judged by the same set, with as much RAM or less, and its accuracy.
    pub rival: Option<(String, f64)>,
}

/// The runs whose compiled model was evaluated, by the set that judged them and RAM.
///
/// Runs of one network are no rivals of each other.
#[must_use]
pub fn places(lines: &[RunLine]) -> Vec<Place> {
    let known = |line: &RunLine| {
        Some(Place {
            run: line.run.clone(),
            network: line.network.clone(),
            on: line.int8_on.clone()?,
            accuracy: line.int8?,
            flash_bytes: line.flash_bytes?,
            ram_bytes: line.ram_bytes?,
            rival: None,
        })
    };
    let mut places: Vec<Place> = lines.iter().filter_map(known).collect();
    places.sort_by(|a, b| (&a.on, a.ram_bytes, &a.run).cmp(&(&b.on, b.ram_bytes, &b.run)));
    let rivals: Vec<_> = places.iter().map(|place| rival(place, &places)).collect();
    places.iter_mut().zip(rivals).for_each(|(place, rival)| place.rival = rival);
    places
}

fn rival(place: &Place, places: &[Place]) -> Option<(String, f64)> {
    let others = places
        .iter()
        .filter(|other| other.on == place.on && other.network != place.network && other.ram_bytes <= place.ram_bytes);
    let best = others.max_by(|a, b| a.accuracy.total_cmp(&b.accuracy))?;
    Some((best.network.clone(), best.accuracy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(network: &str, on: &str, accuracy: f64, ram_bytes: u64) -> RunLine {
        RunLine {
            run: network.into(),
            network: network.to_owned(),
            data: Some("the same".to_owned()),
            int8: Some(accuracy),
            int8_on: Some(on.to_owned()),
            flash_bytes: Some(1),
            ram_bytes: Some(ram_bytes),
            ..RunLine::default()
        }
    }

    #[test]
    fn a_network_is_compared_with_those_judged_by_the_same_set_that_need_no_more() {
        let lines = [
            place("large", "photos", 0.9, 300),
            place("good", "photos", 0.8, 200),
            place("wasteful", "photos", 0.7, 250),
            place("small", "photos", 0.6, 100),
            place("small", "photos", 0.5, 100),
            place("other", "digits", 0.99, 50),
            RunLine { int8: None, ..place("not evaluated", "photos", 0.0, 10) },
        ];
        let found: Vec<_> = places(&lines).into_iter().map(|place| (place.network, place.rival)).collect();
        let row = |network: &str, rival: Option<(&str, f64)>| {
            (network.to_owned(), rival.map(|(name, accuracy)| (name.to_owned(), accuracy)))
        };
        assert_eq!(
            found,
            [
                row("other", None),
                row("small", None),
                row("small", None),
                row("good", Some(("small", 0.6))),
                row("wasteful", Some(("good", 0.8))),
                row("large", Some(("good", 0.8))),
            ]
        );
    }
}
