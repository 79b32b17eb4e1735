//! Runs side by side: where they are, what they gave, in what they differ.

use super::evaluation::Evaluation;
use super::figures::Figures;
use super::folder::{RunView, text_of};
use super::history::Curves;
use super::words::{day, percent, thousands};
use crate::network::summary::parameters;
use anyhow::{Context, bail};
use serde::Serialize;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How deep below a folder runs are looked for.
const DEPTH: usize = 4;

/// A run in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunLine {
    /// Its folder.
    pub run: PathBuf,
    /// Name of the network.
    pub network: String,
    /// Name of the dataset that it was trained on.
    pub data: Option<String>,
    /// Epochs trained.
    pub epochs: Option<usize>,
    /// The epoch whose weights the folder holds.
    pub kept_epoch: Option<f64>,
    /// Accuracy of that epoch on the validation images.
    pub val_accuracy: Option<f64>,
    /// Accuracy of the compiled model, where it was evaluated.
    pub int8: Option<f64>,
    /// The images that this was measured on, in words.
    pub int8_on: Option<String>,
    /// Bytes of the compiled model.
    pub flash_bytes: Option<u64>,
    /// Bytes of its working memory.
    pub ram_bytes: Option<u64>,
    /// The board that it is for.
    pub board: Option<String>,
    /// The day on which the file of the weights was written, UTC.
    pub date: Option<String>,
    /// The second of it, since 1970.
    #[serde(skip)]
    pub(super) seconds: Option<u64>,
}

impl RunLine {
    /// The line of a run.
    #[must_use]
    pub fn of(run: &RunView) -> Self {
        let seconds = run.trained.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs());
        let kept = run.kept();
        Self {
            run: run.folder.clone(),
            network: run.network.name.clone(),
            data: run.data(),
            epochs: run.curves.as_ref().map(Curves::epochs),
            kept_epoch: kept.map(|kept| kept.epoch),
            val_accuracy: kept.map(|kept| kept.val_accuracy),
            int8: run.figures.int8.as_ref().map(|int8| int8.metrics.accuracy),
            int8_on: run.figures.int8.as_ref().map(Evaluation::on_name),
            flash_bytes: run.model.as_ref().map(|model| model.flash_bytes),
            ram_bytes: run.model.as_ref().map(|model| model.ram_bytes),
            board: run.setting("target", "board"),
            date: run.trained.map(day),
            seconds,
        }
    }
}

/// What a list of runs is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Folder, A to Z.
    Run,
    /// Network, A to Z.
    Network,
    /// Dataset, A to Z.
    Data,
    /// Epochs, most first.
    Epochs,
    /// Validation accuracy of the kept weights, highest first.
    ValAccuracy,
    /// Accuracy of the compiled model, highest first.
    Int8,
    /// Flash, least first.
    Flash,
    /// RAM, least first.
    Ram,
    /// Board, A to Z.
    Board,
    /// Date of the weights' file, newest first.
    Date,
}

impl SortKey {
    /// All keys by their names.
    pub const ALL: [(&'static str, Self); 10] = [
        ("run", Self::Run),
        ("network", Self::Network),
        ("data", Self::Data),
        ("epochs", Self::Epochs),
        ("val-accuracy", Self::ValAccuracy),
        ("int8", Self::Int8),
        ("flash", Self::Flash),
        ("ram", Self::Ram),
        ("board", Self::Board),
        ("date", Self::Date),
    ];

    /// A key by its name.
    ///
    /// # Errors
    /// Names the keys that there are.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.iter().find(|(key, _)| *key == name) {
            Some((_, key)) => Ok(*key),
            None => bail!("'{name}' is no sort key: choose one of {}", Self::ALL.map(|(key, _)| key).join(", ")),
        }
    }
}

/// Sorts a list; runs that lack the key come last, equal ones by folder.
pub fn sort(lines: &mut [RunLine], key: SortKey) {
    lines.sort_by(|a, b| {
        let order = match key {
            SortKey::Run => Ordering::Equal,
            SortKey::Network => a.network.cmp(&b.network),
            SortKey::Data => known_first(&a.data, &b.data, Ord::cmp),
            SortKey::Epochs => known_first(&a.epochs, &b.epochs, |a, b| b.cmp(a)),
            SortKey::ValAccuracy => known_first(&a.val_accuracy, &b.val_accuracy, |a, b| b.total_cmp(a)),
            SortKey::Int8 => known_first(&a.int8, &b.int8, |a, b| b.total_cmp(a)),
            SortKey::Flash => known_first(&a.flash_bytes, &b.flash_bytes, Ord::cmp),
            SortKey::Ram => known_first(&a.ram_bytes, &b.ram_bytes, Ord::cmp),
            SortKey::Board => known_first(&a.board, &b.board, Ord::cmp),
            SortKey::Date => known_first(&a.seconds, &b.seconds, |a, b| b.cmp(a)),
        };
        order.then_with(|| a.run.cmp(&b.run))
    });
}

fn known_first<T>(a: &Option<T>, b: &Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        _ => b.is_some().cmp(&a.is_some()),
    }
}

/// The run folders below a folder, itself among them; hidden folders and links are passed over.
///
/// # Errors
/// When the folder cannot be read.
pub fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}: give one that holds run folders", folder.display()))?;
    let mut found = Vec::new();
    collect(folder, DEPTH, &mut found);
    found.sort();
    Ok(found)
}

/// The run folder that a name means: a folder, or one below `home` as a list of that folder names it.
#[must_use]
pub fn named(name: &Path, home: &Path) -> PathBuf {
    let below = home.join(name);
    if !RunView::is_run(name) && RunView::is_run(&below) { below } else { name.to_owned() }
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if RunView::is_run(folder) {
        found.push(folder.to_owned());
        return;
    }
    // a folder below that cannot be read holds no run that can
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if depth > 0 && !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth - 1, found);
        }
    }
}

/// A row of a comparison: its name and a value for each run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// A key of the configuration, or a figure.
    pub what: String,
    /// The value of each run; `None` where it has none.
    pub values: Vec<Option<String>>,
}

/// The keys of the configurations in which runs differ.
#[must_use]
pub fn differing_settings(runs: &[RunView]) -> Vec<Compared> {
    let flat: Vec<Vec<(String, String)>> = runs.iter().map(|run| flatten(&run.config)).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in flat.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let values = |key: &String| -> Vec<Option<String>> {
        flat.iter().map(|settings| settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())).collect()
    };
    let rows = keys.into_iter().map(|key| Compared { what: key.clone(), values: values(key) });
    rows.filter(|row| row.values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}

fn flatten(config: &toml::Table) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    for (key, value) in config {
        match value {
            toml::Value::Table(table) => {
                flat.extend(flatten(table).into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
            }
            value => flat.push((key.clone(), text_of(value))),
        }
    }
    flat
}

/// The figures of runs, as far as at least one of them has them.
#[must_use]
pub fn figures(runs: &[RunView]) -> Vec<Compared> {
    type Value<'a> = (&'static str, &'a dyn Fn(&RunView) -> Option<String>);
    let check = |figures: &Figures| figures.check.as_ref().and_then(|check| check.device.clone());
    let rows: [Value<'_>; 17] = [
        ("network", &|run| Some(run.network.name.clone())),
        ("parameters", &|run| parameters(&run.network).ok().map(thousands)),
        ("epochs", &|run| run.curves.as_ref().map(|curves| curves.epochs().to_string())),
        ("validation accuracy of the kept weights", &|run| run.kept().map(|kept| percent(kept.val_accuracy))),
        ("their epoch", &|run| run.kept().map(|kept| format!("{:.0}", kept.epoch))),
        ("best validation accuracy", &|run| run.curves.as_ref()?.best_accuracy().map(|(_, best)| percent(best))),
        ("in epoch", &|run| run.curves.as_ref()?.best_accuracy().map(|(epoch, _)| format!("{epoch:.0}"))),
        ("seconds", &|run| run.curves.as_ref()?.points("seconds").last().map(|&(_, s)| format!("{s:.0}"))),
        ("accuracy, float", &|run| run.figures.float.as_ref().map(|e| percent(e.metrics.accuracy))),
        ("measured on, float", &|run| run.figures.float.as_ref().map(Evaluation::on_name)),
        ("accuracy, int8", &|run| run.figures.int8.as_ref().map(|e| percent(e.metrics.accuracy))),
        ("measured on, int8", &|run| run.figures.int8.as_ref().map(Evaluation::on_name)),
        ("loss, int8", &|run| run.figures.int8.as_ref().map(|e| format!("{:.4}", e.metrics.loss))),
        ("calibration error, int8", &|run| {
            run.figures.int8.as_ref().map(|e| percent(e.metrics.calibration.expected_error))
        }),
        ("flash bytes", &|run| run.model.as_ref().map(|model| thousands(model.flash_bytes))),
        ("RAM bytes", &|run| run.model.as_ref().map(|model| thousands(model.ram_bytes))),
        ("instructions an image", &|run| check(&run.figures).map(|device| thousands(device.instructions))),
    ];
    let compared = rows
        .into_iter()
        .map(|(what, value)| Compared { what: what.to_owned(), values: runs.iter().map(value).collect() });
    compared.filter(|row| row.values.iter().any(Option::is_some)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn view(name: &str, config: &str) -> RunView {
        RunView {
            folder: name.into(),
            network: Network::open("mnist-cnn").unwrap(),
            labels: Vec::new(),
            config: config.parse().unwrap(),
            curves: None,
            model: None,
            figures: Figures::default(),
            trained: None,
        }
    }

    fn line(run: &str, val_accuracy: Option<f64>, flash_bytes: Option<u64>) -> RunLine {
        RunLine { val_accuracy, flash_bytes, ..RunLine::of(&view(run, "")) }
    }

    #[test]
    fn the_best_come_first_and_what_is_not_known_last() {
        let mut lines = [
            line("a", None, Some(3)),
            line("b", Some(0.5), Some(2)),
            line("c", Some(0.9), None),
            line("d", Some(0.9), Some(9)),
        ];
        let order = |lines: &[RunLine]| lines.iter().map(|l| l.run.display().to_string()).collect::<String>();
        sort(&mut lines, SortKey::ValAccuracy);
        assert_eq!(order(&lines), "cdba");
        sort(&mut lines, SortKey::Flash);
        assert_eq!(order(&lines), "badc");
        sort(&mut lines, SortKey::find("run").unwrap());
        assert_eq!(order(&lines), "abcd");
        assert!(SortKey::find("size").unwrap_err().to_string().contains("int8, flash"));
    }

    #[test]
    fn only_settings_that_differ_are_compared() {
        let a = view("a", "[training]\nepochs = 3\noptimizer = \"adam\"\n[target]\nboard = \"x\"");
        let b = view("b", "[training]\nepochs = 4\noptimizer = \"adam\"\nwarm_up = 2\n[target]\nboard = \"x\"");
        let rows = differing_settings(&[a.clone(), b]);
        let row = |what: &str, values: [Option<&str>; 2]| Compared {
            what: what.to_owned(),
            values: values.iter().map(|value| value.map(str::to_owned)).collect(),
        };
        assert_eq!(rows, [row("training.epochs", [Some("3"), Some("4")]), row("training.warm_up", [None, Some("2")])]);
        assert!(differing_settings(&[a.clone(), a.clone()]).is_empty());
        let parameters = figures(&[a.clone(), a]).into_iter().find(|row| row.what == "parameters").unwrap();
        assert_eq!(parameters.values[0].as_deref(), Some("34,826"));
    }

    #[test]
    fn runs_are_found_below_a_folder_but_not_below_a_run() {
        let root = tempfile::tempdir().unwrap();
        // what one trains from is no run
        for name in [crate::run::names::NETWORK, crate::run::names::CONFIG] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        for run in ["a", "deep/er/b", ".hidden/c", "a/inner"] {
            let folder = root.path().join(run);
            std::fs::create_dir_all(&folder).unwrap();
            for name in [crate::run::names::NETWORK, crate::run::names::CONFIG, crate::run::names::WEIGHTS] {
                std::fs::write(folder.join(name), "").unwrap();
            }
        }
        let found = find(root.path()).unwrap();
        assert_eq!(found, [root.path().join("a"), root.path().join("deep/er/b")]);
        assert!(find(&root.path().join("none")).is_err());
        // a run is meant by its folder, or by its name in the list
        let (home, b) = (root.path(), root.path().join("deep/er/b"));
        assert_eq!(named(Path::new("deep/er/b"), home), b);
        assert_eq!(named(&b, &home.join("a")), b);
        assert_eq!(named(Path::new("c"), home), Path::new("c"), "none of that name");
    }
}
