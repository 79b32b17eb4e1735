//! Class folders inside an archive, whose folders exist only in the names of its files.

use super::archive::Entry;
use super::folders::{Set, split_of};
use super::items::{Item, Picture};
use super::passed::{PassedOver, is_picture, may_be_picture};
use super::{DataError, Found, Split};
use std::collections::BTreeSet;
use std::path::Path;

/// Looks for class folders and lists their files; what is passed over is noted. A single folder around all of them does not count.
pub(super) fn find(archive: &Path, files: &[Entry], passed: &mut PassedOver) -> Found<Set> {
    let is_named_so = |file: &&Entry| file.0.last().is_some_and(|name| may_be_picture(Path::new(name)));
    let (pictures, others): (Vec<&Entry>, Vec<&Entry>) = files.iter().partition(is_named_so);
    let depth = wrappers(&pictures);
    let inner: Vec<(&[String], &Entry)> =
        pictures.iter().filter(|file| file.0.len() > depth).map(|file| (&file.0[depth..], *file)).collect();
    let divided: BTreeSet<Split> =
        inner.iter().filter(|(parts, _)| parts.len() > 2).filter_map(|(parts, _)| split_of(&parts[0])).collect();
    let mut found: Vec<(Split, &str, &Entry)> = Vec::new();
    let mut without_class = Vec::new();
    for (parts, file) in &inner {
        match *parts {
            [split, class, _, ..] if !divided.is_empty() => {
                found.extend(split_of(split).map(|split| (split, class.as_str(), *file)));
            }
            [class, _, ..] if divided.is_empty() => found.push((Split::Train, class, file)),
            [name] if is_picture(Path::new(name)) => without_class.push(file.1.path().to_owned()),
            [set, name] if split_of(set).is_some() && is_picture(Path::new(name)) => {
                without_class.push(file.1.path().to_owned());
            }
            _ => {}
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    passed.without_class = without_class;
    let classes: BTreeSet<(Option<Split>, &str)> =
        found.iter().map(|(split, class, _)| ((!divided.is_empty()).then_some(*split), *class)).collect();
    let in_class = |file: &&&Entry| match file.0.get(depth..) {
        Some([split, class, _, ..]) if !divided.is_empty() => classes.contains(&(split_of(split), class)),
        Some([class, _, ..]) if divided.is_empty() => classes.contains(&(None, class)),
        _ => false,
    };
    passed.not_pictures = others.iter().filter(in_class).map(|file| file.1.path().to_owned()).collect();
    let name = |entry: &Entry| entry.0.join("/");
    let rows = found.into_iter().map(|(split, class, entry)| Row {
        split,
        class: class.to_owned(),
        name: name(entry),
        picture: Picture::File(entry.1.clone()),
    });
    sets(archive, rows.collect()).map(Some)
}

/// Folders around everything: one within the other, each without a neighbour.
fn wrappers(files: &[&Entry]) -> usize {
    let mut depth = 0;
    loop {
        let deeper = || files.iter().filter(|file| file.0.len() > depth + 1);
        let folders: BTreeSet<&str> = deeper().map(|file| file.0[depth].as_str()).collect();
        let holds_folders = files.iter().any(|file| file.0.len() > depth + 2);
        match folders.first() {
            Some(folder) if folders.len() == 1 && holds_folders && split_of(folder).is_none() => depth += 1,
            _ => return depth,
        }
    }
}

/// A picture with what is said of it.
pub(super) struct Row {
    pub(super) split: Split,
    pub(super) class: String,
    pub(super) name: String,
    pub(super) picture: Picture,
}

/// Classes, in the order of their names as text, and sets of a list of pictures. The training set says what the classes are; without one, every class that occurs.
pub(super) fn sets(path: &Path, rows: Vec<Row>) -> Result<(Vec<String>, Vec<Set>), DataError> {
    let training = rows.iter().any(|row| row.split == Split::Train);
    let defining = rows.iter().filter(|row| !training || row.split == Split::Train);
    let labels: BTreeSet<&str> = defining.map(|row| row.class.as_str()).collect();
    let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    let mut sets: Vec<Set> = Split::ALL.map(|split| Set { split, items: Vec::new() }).into();
    for Row { split, class: name, name: path_in, picture } in rows {
        let Some(class) = labels.iter().position(|label| *label == name) else {
            return Err(DataError::UnknownClass { path: path.join(path_in), class: name, known: labels.join(", ") });
        };
        if let Some(set) = sets.iter_mut().find(|set| set.split == split) {
            set.items.push(Item { name: path_in, class, picture });
        }
    }
    sets.retain(|set| !set.items.is_empty());
    Ok((labels, sets))
}
