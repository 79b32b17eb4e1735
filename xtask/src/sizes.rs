//! `cargo xtask sizes`: flash, RAM and instructions of every model on every board, in a committed table.

mod table;

use crate::bench::{CompiledModel, DoesNotFit, measure};
use crate::process::root;
use anyhow::{Context, Result, bail};
use ocelli_firmware_tools::bench::BenchError;
use ocelli_firmware_tools::boards::{Board, emulated};
use ocelli_firmware_tools::build::BuildError;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::{Row, Sizes};

/// The committed table.
const TABLE: &str = "docs/sizes.md";
/// The folder of the models that are shipped.
const FOLDER: &str = "models";
/// The networks that peers are measured by; `ocelli import` compiles them for each board.
const BENCHMARKS: [&str; 2] =
    ["tests/models/mobilenet_v1_025_96_made_int8.tflite", "tests/models/resnet8_made_int8.tflite"];

/// Arguments of `sizes`.
#[derive(clap::Args)]
pub struct Args {
    /// Fail when a figure has grown by more than 3 % against the committed table (docs/sizes.md). Measures one board for each target: the
    /// others of it differ in their memory, and get the same code.
    #[arg(long)]
    pub check: bool,
    /// Write the table.
    #[arg(long, conflicts_with = "check")]
    pub write: bool,
}

/// Measures, and prints, checks or writes the table.
pub fn run(args: &Args) -> Result<ExitCode> {
    let measured = measure_all(args.check)?;
    let text = table::to_text(&measured);
    if args.write {
        fs::write(root().join(TABLE), text).context(TABLE)?;
        println!("sizes: {TABLE} is written");
    } else if args.check {
        check(&measured)?;
    } else {
        print!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when the committed table does not hold.
fn check(measured: &[Row]) -> Result<()> {
    let text = fs::read_to_string(root().join(TABLE)).context(TABLE)?;
    let problems = table::compare(&table::parse(&text)?, measured);
    if problems.is_empty() {
        println!("sizes: {} rows, none more than 3 % above {TABLE}", measured.len());
        return Ok(());
    }
    bail!("{}\nif that must be, write the new sizes: cargo xtask sizes --write", problems.join("\n"));
}

/// Every model on every board, or on the first board of each target.
fn measure_all(is_short: bool) -> Result<Vec<Row>> {
    let mut boards: Vec<_> = emulated().collect();
    if is_short {
        let mut targets = HashSet::new();
        boards.retain(|board| targets.insert(board.target));
    }
    let mut rows = Vec::new();
    for model in models()? {
        for &board in &boards {
            println!("sizes: {} on {}", model.display(), board.name);
            let sizes = sizes(&root().join(&model), board).with_context(|| model.display().to_string())?;
            rows.push(Row { model: model.display().to_string(), board: board.name.to_owned(), sizes });
        }
    }
    Ok(rows)
}

/// What a model takes on a board; `None` when it does not fit.
fn sizes(model: &Path, board: &'static Board) -> Result<Option<Sizes>> {
    let model = match CompiledModel::of(model, board) {
        Ok(model) => model,
        Err(error) if error.is::<DoesNotFit>() => return Ok(None),
        Err(error) => return Err(error),
    };
    let report = match measure(model.path(), board, 1, None) {
        Ok(report) => report,
        Err(error) => match error.downcast_ref() {
            Some(BenchError::Build(BuildError::TooLarge(_))) => return Ok(None),
            _ => return Err(error),
        },
    };
    Ok(Some(Sizes {
        code: report.flash_code_bytes,
        model: report.flash_model_bytes,
        arena: report.arena_bytes,
        stack: report.stack_bytes,
        instructions: report.instructions,
    }))
}

/// The models of the table, by their paths in the repository, sorted.
fn models() -> Result<Vec<PathBuf>> {
    let mut models = BENCHMARKS.map(PathBuf::from).to_vec();
    for entry in root().join(FOLDER).read_dir().context(FOLDER)? {
        let model = Path::new(FOLDER).join(entry.context(FOLDER)?.file_name()).join("model.ocelli");
        if root().join(&model).exists() {
            models.push(model);
        }
    }
    models.sort();
    Ok(models)
}
