//! Photos by words of their labels.

use super::list::{Photo, Tag, Tags};
use std::fmt;
use strsim::osa_distance;

/// Labels that are named when a word is in none.
const NAMED: usize = 10;

/// A photo whose labels hold a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Match<'a> {
    /// The photo.
    pub photo: &'a Photo,
    /// The probability that the photo shows one of the labels that hold the word: the sum of their scores.
    pub score: f32,
    /// Whether the labels hold it as whole words, not as part of a word.
    pub whole: bool,
    /// These labels, the best first.
    pub labels: Vec<&'a Tag>,
}

/// A word that no label of the model holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unknown {
    /// The word.
    pub word: String,
    /// Labels, those with the nearest words first.
    pub nearest: Vec<String>,
    /// How many labels are not named.
    pub others: usize,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, nearest, others } = self;
        let named = nearest.join(", ");
        match others {
            0 => write!(f, "no label holds \"{word}\": the model has {named}"),
            1 => write!(f, "no label holds \"{word}\": the nearest are {named}; the model has one more"),
            _ => write!(f, "no label holds \"{word}\": the nearest are {named}; the model has {others} more"),
        }
    }
}

/// Photos whose labels hold `word` with a score of at least `min_score`: those that hold it as whole words first, then those that hold it as
/// part of a word, each the best first.
///
/// Case does not count, nor what stands between words: `golden_retriever` finds "Golden retriever".
///
/// # Errors
/// When no label of the model holds the word.
pub fn search<'a>(tags: &'a Tags, word: &str, min_score: f32) -> Result<Vec<Match<'a>>, Unknown> {
    let wanted = words(word);
    if wanted.trim().is_empty() || !tags.labels.iter().any(|label| words(label).contains(wanted.trim())) {
        return Err(unknown(tags, word));
    }
    let found = |photo: &'a Photo| {
        let of = |whole: bool| {
            let wanted = if whole { wanted.as_str() } else { wanted.trim() };
            let labels: Vec<&Tag> = photo.labels.iter().filter(|tag| words(&tag.label).contains(wanted)).collect();
            let score = labels.iter().map(|tag| tag.score).sum::<f32>().min(1.0);
            (!labels.is_empty() && score >= min_score).then_some(Match { photo, score, whole, labels })
        };
        of(true).or_else(|| of(false))
    };
    let mut matches: Vec<Match<'_>> = tags.photos.iter().filter_map(found).collect();
    // stable: photos as good as each other stay in the order of their paths
    matches.sort_by(|a, b| b.whole.cmp(&a.whole).then(b.score.total_cmp(&a.score)));
    Ok(matches)
}

/// Letters and digits in lower case, with one space before, between and after the words.
fn words(text: &str) -> String {
    let mut words = String::from(" ");
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() {
            words.push(letter);
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

fn unknown(tags: &Tags, word: &str) -> Unknown {
    let wanted = words(word);
    let wanted = wanted.trim();
    let distance = |label: &String| {
        let label = words(label);
        let parts = std::iter::once(label.trim()).chain(label.split_whitespace());
        parts.map(|part| osa_distance(wanted, part)).min()
    };
    let mut labels: Vec<&String> = tags.labels.iter().collect();
    labels.sort_by_cached_key(|label| (distance(label), *label));
    labels.dedup();
    let nearest: Vec<String> = labels.iter().take(NAMED).map(|label| (*label).clone()).collect();
    Unknown { word: word.to_owned(), others: labels.len() - nearest.len(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::ModelId;

    fn tags(photos: &[(&str, &[(&str, f32)])]) -> Tags {
        let labels = ["tabby cat", "Egyptian_cat", "caterpillar", "dog", "hot dog", "Löwe"];
        let model = ModelId { name: "m".to_owned(), sha256: "0".to_owned() };
        let mut tags = Tags::new(".".to_owned(), model, 5, labels.map(str::to_owned).to_vec());
        tags.extend(photos.iter().map(|(path, labels)| {
            let labels = labels.iter().map(|&(label, score)| Tag { label: label.to_owned(), score }).collect();
            let (path, sha256) = ((*path).to_owned(), "0".to_owned());
            Photo { path, bytes: 1, modified: 1, sha256, labels, reason: None }
        }));
        tags
    }

    fn paths<'a>(matches: &'a [Match<'a>]) -> Vec<(&'a str, f32)> {
        matches.iter().map(|found| (found.photo.path.as_str(), found.score)).collect()
    }

    #[test]
    fn whole_words_come_first_and_labels_of_one_word_add_up() {
        let tags = tags(&[
            ("a", &[("caterpillar", 0.875)]),
            ("b", &[("tabby cat", 0.5)]),
            ("c", &[("tabby cat", 0.375), ("Egyptian_cat", 0.25), ("caterpillar", 0.25)]),
            ("d", &[("dog", 1.0)]),
            ("e", &[("dog", 0.75), ("tabby cat", 0.125)]),
            ("f", &[("tabby cat", 0.5)]),
        ]);
        let found = search(&tags, "CAT", 0.25).unwrap();
        assert_eq!(paths(&found), [("c", 0.625), ("b", 0.5), ("f", 0.5), ("a", 0.875)]);
        assert_eq!(found.iter().map(|found| found.whole).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(found[0].labels.len(), 2);
        assert_eq!(paths(&search(&tags, "egyptian cat", 0.1).unwrap()), [("c", 0.25)]);
        assert_eq!(paths(&search(&tags, "cat", 0.6).unwrap()), [("c", 0.625), ("a", 0.875)]);
        assert!(search(&tags, "hot", 0.1).unwrap().is_empty(), "a label of the model, but of no photo");
        assert!(search(&tags, "LÖWE", 0.1).unwrap().is_empty());
    }

    #[test]
    fn an_unknown_word_names_the_nearest_labels() {
        let tags = tags(&[]);
        let unknown = search(&tags, "dgo", 0.1).unwrap_err();
        assert_eq!((&unknown.nearest[..2], unknown.others), (&["dog".to_owned(), "hot dog".to_owned()][..], 0));
        assert!(unknown.to_string().starts_with("no label holds \"dgo\": the model has dog, hot dog"), "{unknown}");
        assert!(search(&tags, " - ", 0.1).is_err(), "no word at all");
        let mut many = tags;
        many.labels.extend((0..20).map(|i| format!("class number {i}")));
        let unknown = search(&many, "tabyb", 0.1).unwrap_err();
        assert_eq!((unknown.nearest[0].as_str(), unknown.nearest.len(), unknown.others), ("tabby cat", 10, 16));
    }
}
