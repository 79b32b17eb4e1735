//! `ocelli runs`

use super::Verdict;
use super::ui::{percent, table, thousands};
use anyhow::{Context, ensure};
use ocelli_host::report::folder::RunView;
use ocelli_host::report::frontier::places;
use ocelli_host::report::plots::{RunCurves, compared_png};
use ocelli_host::report::runs::{Compared, RunLine, SortKey, differing_settings, figures, find, named, sort};
use std::path::{Path, PathBuf};

/// List runs, or compare some
///
/// Lists the run folders below a folder: network, the data that it was trained on, board, epochs, the epoch whose weights the folder
/// holds and the validation accuracy of that epoch (of the float network, or of the int8 runtime after epochs in int8), accuracy of the
/// int8 model with the images that it was measured on (where `ocelli report` or `eval` measured it), flash, RAM. The date is that of the
/// file of the weights: of a folder that was copied or cloned, that of the copy.
///
/// `ocelli runs compare A B` shows in what runs differ; `ocelli runs --frontier` how accurate each evaluated model is for its RAM, beside
/// the best other network that was judged by the same set, with as much RAM or less.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    compare: Option<Task>,
    /// The folder to look in.
    #[arg(default_value = HOME)]
    folder: PathBuf,
    /// run, network, data, epochs, val-accuracy, int8, flash, ram, board or date.
    #[arg(long, default_value = "date", value_name = "KEY")]
    sort: String,
    /// Accuracy for RAM: each evaluated model beside the best other network with no more.
    #[arg(long)]
    frontier: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Compare runs: the settings that differ, and the figures
    Compare(Compare),
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The run folders, two or more; also as `ocelli runs` names those below runs/.
    #[arg(required = true, num_args = 2..=MAX_RUNS)]
    runs: Vec<PathBuf>,
    /// Write validation loss and accuracy of all runs over the epochs as a PNG.
    #[arg(long, value_name = "PNG")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where runs are looked for.
const HOME: &str = "runs";
/// Most runs that are compared.
const MAX_RUNS: usize = 8;

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    match &args.compare {
        Some(Task::Compare(args)) => compare(args),
        None => list(args),
    }
}

fn list(args: &Args) -> anyhow::Result<Verdict> {
    let key = SortKey::find(&args.sort)?;
    let mut lines = Vec::new();
    for folder in find(&args.folder)? {
        match RunView::read(&folder) {
            Ok(run) => lines.push(RunLine::of(&run)),
            Err(error) => eprintln!("warning: {} is left out: {error:#}", folder.display()),
        }
    }
    if args.frontier {
        return frontier(args, &lines);
    }
    sort(&mut lines, key);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(Verdict::Done);
    }
    if lines.is_empty() {
        println!("no runs below {}: make one with `ocelli train --out FOLDER`", args.folder.display());
        return Ok(Verdict::Done);
    }
    let header = [
        "run",
        "network",
        "trained on",
        "board",
        "int8 measured on",
        "weights' file",
        "epochs",
        "kept epoch",
        "its val accuracy",
        "int8 accuracy",
        "flash",
        "RAM",
    ];
    let rows = lines.into_iter().map(|line| {
        let number = |n: Option<u64>| n.map_or_else(String::new, thousands);
        let share = |share: Option<f64>| share.map_or_else(String::new, percent);
        vec![
            name(&line.run, &args.folder),
            line.network,
            line.data.unwrap_or_default(),
            line.board.unwrap_or_default(),
            line.int8_on.unwrap_or_default(),
            line.date.unwrap_or_default(),
            line.epochs.map_or_else(String::new, |epochs| epochs.to_string()),
            line.kept_epoch.map_or_else(String::new, |epoch| format!("{epoch:.0}")),
            share(line.val_accuracy),
            share(line.int8),
            number(line.flash_bytes),
            number(line.ram_bytes),
        ]
    });
    println!("{}", table(&header, rows, 6));
    Ok(Verdict::Done)
}

fn frontier(args: &Args, lines: &[RunLine]) -> anyhow::Result<Verdict> {
    let places = places(lines);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&places)?);
        return Ok(Verdict::Done);
    }
    if places.is_empty() {
        println!("no evaluated models below {}: `ocelli eval RUN DATA` makes one", args.folder.display());
        return Ok(Verdict::Done);
    }
    let header = [
        "measured on",
        "run",
        "network",
        "best other with no more RAM",
        "RAM",
        "flash",
        "int8 accuracy",
        "above that other",
    ];
    let rows = places.iter().map(|place| {
        let (rival, above) = place.rival.as_ref().map_or_else(Default::default, |(rival, accuracy)| {
            let above = format!("{:+.2} points", 100.0 * (place.accuracy - accuracy));
            (format!("{rival} ({})", percent(*accuracy)), above)
        });
        vec![
            place.on.clone(),
            name(&place.run, &args.folder),
            place.network.clone(),
            rival,
            thousands(place.ram_bytes),
            thousands(place.flash_bytes),
            percent(place.accuracy),
            above,
        ]
    });
    println!("{}", table(&header, rows, 4));
    Ok(Verdict::Done)
}

/// A run as seen from the folder that is listed.
fn name(run: &Path, folder: &Path) -> String {
    let inside = run.strip_prefix(folder).ok().filter(|inside| !inside.as_os_str().is_empty());
    inside.unwrap_or(run).display().to_string()
}

fn compare(args: &Compare) -> anyhow::Result<Verdict> {
    let runs = args.runs.iter().map(|run| RunView::read(&named(run, Path::new(HOME))));
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<String> = args.runs.iter().map(|folder| folder.display().to_string()).collect();
    let (settings, figures) = (differing_settings(&runs), figures(&runs));
    if let Some(path) = &args.out {
        let curves: Vec<RunCurves<'_>> = runs
            .iter()
            .zip(&names)
            .filter_map(|(run, name)| Some(RunCurves { name, curves: run.curves.as_ref()? }))
            .collect();
        ensure!(!curves.is_empty(), "none of these runs has a history.csv to draw");
        compared_png(path, &curves).context("comparing runs")?;
    }
    if args.json {
        let json = serde_json::json!({ "runs": names, "settings": settings, "figures": figures });
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(Verdict::Done);
    }
    print("setting", &names, settings, 1);
    print("figure", &names, figures, 1);
    Ok(Verdict::Done)
}

fn print(what: &str, names: &[String], compared: Vec<Compared>, right: usize) {
    if compared.is_empty() {
        println!("the same in all: every {what}\n");
        return;
    }
    let header: Vec<&str> = std::iter::once(what).chain(names.iter().map(String::as_str)).collect();
    let rows = compared.into_iter().map(|row| {
        std::iter::once(row.what)
            .chain(row.values.into_iter().map(|value| value.unwrap_or_else(|| "-".to_owned())))
            .collect()
    });
    println!("{}\n", table(&header, rows, right));
}
