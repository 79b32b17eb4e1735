//! `ocelli report`

use super::Verdict;
use super::eval::Source;
use super::ui::spinner;
use anyhow::ensure;
use ocelli_host::files::write_atomically;
use ocelli_host::model::ModelBytes;
use ocelli_host::report::figures::Figures;
use ocelli_host::report::folder::RunView;
use ocelli_host::report::html;
use ocelli_host::report::quantization::quantization_error;
use ocelli_host::run::{Bundle, Trained, names};
use std::path::{Path, PathBuf};

/// Write report.html: a run on one page
///
/// Writes report.html into a run folder: one file that needs no network and no other file, readable on a phone. It shows the
/// configuration, the curves, the layers with what they cost, and what was measured so far.
///
/// With DATA it measures first: accuracy, confusion, calibration and mistakes of the int8 model and of the float network, and the
/// quantization error of each layer; these figures are kept in the run folder (figures.json). What the board takes comes from
/// `ocelli check`, or from bench.json in the run folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run folder.
    run: PathBuf,
    /// Folder of a dataset to measure on; its test set is used, else its validation set, else what the training set aside.
    data: Option<PathBuf>,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long, requires = "data")]
    labels: Option<PathBuf>,
    /// Write the page here; nothing in the run folder changes then.
    #[arg(long, value_name = "HTML")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let folder = args.run.as_path();
    ensure!(folder.is_dir(), "{} is no folder: give the folder of a run", folder.display());
    let mut view = RunView::read(folder)?;
    if let Some(data) = &args.data {
        measure(&mut view.figures, folder, data, args.labels.as_deref())?;
    }
    let path = if let Some(path) = &args.out {
        write_atomically(path, html::render(&view)?.as_bytes())?;
        path.clone()
    } else {
        if args.data.is_some() {
            view.figures.write(folder)?;
        }
        html::refresh(folder)?
    };
    println!("{}", path.display());
    Ok(Verdict::Done)
}

/// Measures all that can be measured on this computer.
fn measure(figures: &mut Figures, folder: &Path, data: &Path, labels: Option<&Path>) -> anyhow::Result<()> {
    let trained = Trained::open(folder)?;
    let source = Source { data, labels, run: folder };
    let loaded = source.load(&trained.network.input)?;
    let color = trained.network.input.color;
    let spinner = spinner("float network");
    let float = source.float(&trained, &loaded)?.evaluation;
    let on = float.on_name();
    figures.float = Some(float.with_pictures(&loaded.set, color)?);
    let model = folder.join(names::MODEL);
    if model.is_file() {
        spinner.set_message("int8 model");
        let int8 = source.int8(&ModelBytes::read(&model)?, &loaded)?.evaluation;
        figures.int8 = Some(int8.with_pictures(&loaded.set, color)?);
        spinner.set_message("each layer, float and int8");
        figures.quantization = Some(quantization_error(&Bundle::open(&model)?, &loaded.set, on)?);
    } else {
        spinner.suspend(|| eprintln!("note: {} is not compiled: no int8 figures", folder.display()));
    }
    spinner.finish_and_clear();
    Ok(())
}
