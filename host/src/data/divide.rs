//! Divides a dataset and writes the parts: as class folders, or as a table.

use super::dataset::quotas;
use super::duplicates::exact;
use super::items::{Item, Picture};
use super::{DataSource, MAX_PIXEL_BYTES, Skipped, Split};
use crate::files::{relative_to, write_atomically};
use anyhow::{Context, bail, ensure};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocelli::image::PixelFormat;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

/// Pictures decoded between two reports of progress.
const CHUNK: usize = 64;

/// A dataset's pictures with the set that each is to belong to.
#[derive(Clone, Debug)]
pub struct Division {
    labels: Vec<String>,
    items: Vec<(Split, Item)>,
    skipped: Vec<Skipped>,
    kept_together: usize,
}

/// Pictures that are equal: all of them belong to one set. Most are single.
struct Unit {
    /// The class of the first.
    class: usize,
    members: Vec<usize>,
}

impl Division {
    /// Takes about `validation` and `test` of each class out of the training images, drawn by `seed`. Sets that are there already are
    /// put together with the training images first when `pool` is set.
    ///
    /// Every picture is decoded: files that cannot be belong to no set, and equal pictures belong to the same one. `progress` gets the
    /// pictures done and their number.
    ///
    /// # Errors
    /// When the fractions leave nothing to train on, or the dataset is divided already.
    pub fn draw(
        source: &DataSource,
        [validation, test]: [f64; 2],
        seed: u64,
        pool: bool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> anyhow::Result<Self> {
        let fraction = |name: &str, value: f64| {
            ensure!((0.0..1.0).contains(&value), "--{name} {value} must be at least 0 and below 1");
            Ok(())
        };
        fraction("validation", validation)?;
        fraction("test", test)?;
        ensure!(validation + test > 0.0, "into which parts? give --validation and --test as fractions, such as 0.2");
        ensure!(validation + test < 1.0, "--validation {validation} and --test {test} leave nothing to train on");
        let splits = source.splits();
        if splits.len() > 1 && !pool {
            let names = splits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let path = source.path().display();
            bail!("{path} is divided already ({names}): --pool puts its sets together and divides them anew");
        }
        let mut items = Vec::new();
        for split in splits {
            items.extend(source.items(split, MAX_PIXEL_BYTES)?);
        }
        let (items, hashes, skipped) = decodable(items, progress);
        let units = units(&items, &hashes);
        let classes = source.labels().len();
        let mut counts = vec![0; classes];
        units.iter().for_each(|unit| counts[unit.class] += unit.members.len());
        let mut split = vec![Split::Train; items.len()];
        for (part, fraction, seed) in [(Split::Test, test, seed), (Split::Validation, validation, seed.wrapping_add(1))]
        {
            let left: Vec<&Unit> = units.iter().filter(|unit| split[unit.members[0]] == Split::Train).collect();
            let mut rest = vec![0; classes];
            left.iter().for_each(|unit| rest[unit.class] += unit.members.len());
            // a share of the whole class, of which one is left to train on
            let wanted = quotas(&counts, fraction).into_iter().zip(rest);
            let wanted: Vec<usize> = wanted.map(|(quota, rest)| quota.min(rest.saturating_sub(1))).collect();
            for &member in choose(&left, &wanted, seed).iter().flat_map(|unit| &unit.members) {
                split[member] = part;
            }
        }
        let kept_together = units.iter().filter(|unit| unit.members.len() > 1).count();
        let items = split.into_iter().zip(items).collect();
        Ok(Self { labels: source.labels().to_vec(), items, skipped, kept_together })
    }

    /// Files that cannot be decoded, which are in no set.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Groups of equal pictures, each of which is in one set.
    #[must_use]
    pub fn kept_together(&self) -> usize {
        self.kept_together
    }

    /// Pictures of a set.
    #[must_use]
    pub fn count(&self, split: Split) -> usize {
        self.items.iter().filter(|item| item.0 == split).count()
    }

    /// Writes `out/train/<class>/...`, `out/validation/...` and `out/test/...`: all, or nothing. Files are linked where `link` is set and
    /// the file system can, else copied; the pictures of idx and CIFAR files become PNG files.
    ///
    /// # Errors
    /// When `out` is there already, or cannot be written.
    pub fn write_folders(&self, out: &Path, link: bool) -> anyhow::Result<()> {
        ensure!(!out.exists(), "{} is there already: choose another folder, or remove it", out.display());
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let cannot = || format!("cannot write to {}: choose a folder that can be written", parent.display());
        let folder = tempfile::Builder::new().prefix(".ocelli-split-").tempdir_in(parent).with_context(cannot)?;
        let classes: Vec<String> = self.labels.iter().map(|label| file_name(label)).collect();
        let different: BTreeSet<String> = classes.iter().map(|class| class.to_lowercase()).collect();
        ensure!(
            different.len() == classes.len(),
            "two classes have the same name as folders: give others with --labels"
        );
        let mut used = BTreeSet::new();
        for (split, item) in &self.items {
            let class = folder.path().join(split.to_string()).join(&classes[item.class]);
            fs::create_dir_all(&class).with_context(cannot)?;
            let mut path = class.join(file_name(&item_name(item)));
            let mut number = 2;
            while !used.insert(path.clone()) {
                path = class.join(format!("{number}-{}", file_name(&item_name(item))));
                number += 1;
            }
            write_item(item, &path, link).with_context(|| format!("cannot copy {}", item.path().display()))?;
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // a temporary folder is private; this one is for whoever may read its parent
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).with_context(cannot)?;
        }
        fs::rename(folder.path(), out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let _ = folder.keep(); // it has another name now
        Ok(())
    }

    /// Writes a table of path, label and split; the pictures stay where they are.
    ///
    /// # Errors
    /// When the pictures are no files of their own, or the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let mut text = String::from("path,label,split\n");
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        for (split, item) in &self.items {
            let file = item.picture.blob().and_then(|blob| blob.on_disk()).context(
                "a table can name only pictures that are files of their own: write folders (without --csv) from archives, \
                 idx and CIFAR files",
            )?;
            let file = relative_to(file, folder)?;
            let file = file.to_str().with_context(|| format!("{} is not UTF-8: rename it", file.display()))?;
            text.push_str(&format!("{},{},{split}\n", quoted(file), quoted(&self.labels[item.class])));
        }
        write_atomically(path, text.as_bytes())
    }
}

/// The pictures that can be decoded with a number of their pixels, and the files that cannot.
fn decodable(items: Vec<Item>, progress: &mut dyn FnMut(usize, usize)) -> (Vec<Item>, Vec<u64>, Vec<Skipped>) {
    let (mut hashes, mut skipped) = (Vec::new(), Vec::new());
    for chunk in items.chunks(CHUNK) {
        hashes.extend(
            chunk.par_iter().map(|item| item.picture.decode().map(|picture| exact(&picture))).collect::<Vec<_>>(),
        );
        progress(hashes.len(), items.len());
    }
    let mut good = (Vec::new(), Vec::new());
    for (item, hash) in items.into_iter().zip(hashes) {
        match hash {
            Ok(hash) => {
                good.0.push(item);
                good.1.push(hash);
            }
            Err(reason) => skipped.push(Skipped { path: item.path().to_owned(), reason }),
        }
    }
    (good.0, good.1, skipped)
}

/// Puts equal pictures together, in the order of the first of each.
fn units(items: &[Item], hashes: &[u64]) -> Vec<Unit> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut units: Vec<Unit> = Vec::new();
    for (i, (item, hash)) in items.iter().zip(hashes).enumerate() {
        let place = *places.entry(*hash).or_insert(units.len());
        match units.get_mut(place) {
            Some(unit) => unit.members.push(i),
            None => units.push(Unit { class: item.class, members: vec![i] }),
        }
    }
    units
}

/// Chooses units of each class until they hold `quotas[class]` pictures; one that holds too many is passed over.
fn choose<'a>(units: &[&'a Unit], quotas: &[usize], seed: u64) -> Vec<&'a Unit> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = Vec::new();
    for (class, &quota) in quotas.iter().enumerate() {
        let mut of_class: Vec<&Unit> = units.iter().copied().filter(|unit| unit.class == class).collect();
        of_class.shuffle(&mut rng);
        let mut left = quota;
        for unit in of_class {
            if let Some(less) = left.checked_sub(unit.members.len()) {
                left = less;
                chosen.push(unit);
            }
        }
    }
    chosen
}

/// What the item's file is to be called.
fn item_name(item: &Item) -> String {
    match &item.picture {
        Picture::File(blob) => {
            blob.path().file_name().map_or_else(|| "picture".to_owned(), |name| name.to_string_lossy().into_owned())
        }
        Picture::Raw(..) => format!("{}.png", item.name.replace(' ', "-")),
    }
}

/// A name that is no path on any system.
fn file_name(name: &str) -> String {
    let harmless = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '-' } else { c };
    let name: String = name.trim().chars().map(harmless).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if name.is_empty() => "_".to_owned(),
        None => name,
    }
}

fn write_item(item: &Item, path: &Path, link: bool) -> anyhow::Result<()> {
    let Some(blob) = item.picture.blob() else {
        let picture = item.picture.decode().map_err(anyhow::Error::msg)?;
        let color = if picture.format == PixelFormat::Gray8 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let file = std::io::BufWriter::new(fs::File::create_new(path)?);
        return Ok(PngEncoder::new(file).write_image(&picture.pixels, picture.width, picture.height, color)?);
    };
    match blob.on_disk() {
        // a link to a link would break when the folder is moved
        Some(file) if link && fs::hard_link(file.canonicalize()?, path).is_ok() => {}
        Some(file) => {
            fs::copy(file, path)?;
        }
        None => fs::write(path, blob.read()?)?,
    }
    Ok(())
}

#[cfg(test)]
#[path = "divide_tests.rs"]
mod tests;
