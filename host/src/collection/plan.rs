//! What is to be run: photos that are new or have changed.

use super::list::{ModelId, Photo, Tags};
use super::walk::{Found, Walk};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Why nothing that is known of the photos can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anew {
    /// It is asked for.
    Asked,
    /// Another model made the list.
    Model {
        /// The model that made it.
        before: String,
    },
    /// Another number of labels was kept of each photo.
    Top {
        /// That number.
        before: usize,
    },
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("all photos are run anew, as asked for"),
            Self::Model { before } => {
                write!(f, "the tags that are there were made by another model ({before}): all photos are run anew")
            }
            Self::Top { before } => {
                write!(f, "the tags that are there have {before} labels a photo: all photos are run anew")
            }
        }
    }
}

/// Why a list is of no use to a tagging with this model and number of labels; `None` when it is.
pub(super) fn outdated(list: &Tags, model: &ModelId, top: usize) -> Option<Anew> {
    if list.model.sha256 != model.sha256 {
        return Some(Anew::Model { before: list.model.name.clone() });
    }
    (list.top != top).then_some(Anew::Top { before: list.top })
}

/// What is to be done with the photos of a folder.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Photos to run.
    pub(super) todo: Vec<Found>,
    /// Photos that are as they were.
    pub(super) kept: Vec<Photo>,
    /// Photos of the list that are not there any more.
    pub(super) gone: Vec<String>,
    /// What is known of files that have gone or changed, by their checksums: a photo that was moved or copied need not be run.
    pub(super) known: HashMap<String, Photo>,
}

impl Plan {
    /// Compares what lies there with what is known; of photos that are known twice the last counts.
    pub(super) fn new(walk: &Walk, known: Vec<Photo>) -> Self {
        let mut known: HashMap<String, Photo> = known.into_iter().map(|photo| (photo.path.clone(), photo)).collect();
        let mut plan = Self::default();
        for found in &walk.photos {
            match known.remove(&found.path) {
                Some(photo) if photo.is_settled() && found.is_as(&photo) => plan.kept.push(photo),
                Some(photo) => plan.changed(found, photo),
                None => plan.todo.push(found.clone()),
            }
        }
        let unnamed: HashSet<&String> = walk.unnamed.iter().collect();
        for (path, photo) in known {
            if walk.cannot_see(&path) {
                plan.kept.push(photo);
            } else if !unnamed.contains(&path) {
                plan.remember(photo);
                plan.gone.push(path);
            }
        }
        plan.gone.sort();
        plan
    }

    fn changed(&mut self, found: &Found, photo: Photo) {
        self.todo.push(found.clone());
        self.remember(photo);
    }

    fn remember(&mut self, photo: Photo) {
        if photo.is_settled() {
            self.known.insert(photo.sha256.clone(), photo);
        }
    }
}

impl Photo {
    /// Whether the file has been read: one that could not be is tried again.
    fn is_settled(&self) -> bool {
        !self.sha256.is_empty()
    }
}

impl Found {
    fn is_as(&self, photo: &Photo) -> bool {
        (self.bytes, self.modified) == (photo.bytes, photo.modified)
    }
}

impl Walk {
    /// Whether a path is below a folder that cannot be read: nobody knows whether it is still there.
    fn cannot_see(&self, path: &str) -> bool {
        let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.unreadable.iter().any(|(folder, _)| below(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, bytes: u64, modified: i64) -> Found {
        Found { path: path.to_owned(), bytes, modified }
    }

    fn photo(path: &str, bytes: u64, modified: i64, sha256: &str) -> Photo {
        let reason = sha256.is_empty().then(|| "no permission".to_owned());
        Photo { path: path.to_owned(), bytes, modified, sha256: sha256.to_owned(), labels: Vec::new(), reason }
    }

    #[test]
    fn only_new_and_changed_photos_are_run() {
        let known = vec![
            photo("same", 1, 10, "a"),
            photo("larger", 1, 10, "b"),
            photo("newer", 1, 10, "c"),
            photo("locked", 1, 10, ""),
            photo("gone", 1, 10, "d"),
            photo("nas/1", 1, 10, "e"),
            photo("nas2", 1, 10, "f"),
        ];
        let walk = Walk {
            photos: vec![
                found("larger", 2, 10),
                found("locked", 1, 10),
                found("new", 1, 10),
                found("newer", 1, 11),
                found("same", 1, 10),
            ],
            unreadable: vec![("nas".to_owned(), "input/output error".to_owned())],
            ..Walk::default()
        };
        let mut plan = Plan::new(&walk, known);
        let todo: Vec<&str> = plan.todo.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(todo, ["larger", "locked", "new", "newer"]);
        plan.kept.sort_by(|a, b| a.path.cmp(&b.path));
        let kept: Vec<&str> = plan.kept.iter().map(|photo| photo.path.as_str()).collect();
        assert_eq!(kept, ["nas/1", "same"], "what cannot be seen now is not gone");
        assert_eq!(plan.gone, ["gone", "nas2"]);
        let mut checksums: Vec<&str> = plan.known.keys().map(String::as_str).collect();
        checksums.sort_unstable();
        assert_eq!(checksums, ["b", "c", "d", "f"]);
    }
}
