//! `ocelli check`

use super::Verdict;
use super::ui::{bar, load_evaluation, percent, spinner, table, update_page};
use anyhow::{Context, bail, ensure};
use ocelli_firmware_tools::boards::find;
use ocelli_host::check::golden::{
    self, Difference, Golden, first_difference, first_differing_layer, host_outputs, outputs_of_board,
};
use ocelli_host::check::onnx_nodes::{self, Outcome as NodeOutcome};
use ocelli_host::check::vectors::{self, Outcome};
use ocelli_host::check::{self, CheckReport, DeviceRunner, not_available, run_device};
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::data::Dataset;
use ocelli_host::report::evaluation::Part;
use ocelli_host::report::figures::Checked;
use ocelli_host::run::{Bundle, names};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Compare Burn, tract, the runtime and an emulated chip; exit code 1 when they differ
///
/// Compare a model with its references: Burn and tract in float, every layer of the int8 runtime with tract's, the model file
/// with the quantized network, and the emulated board with the host.
///
/// MODEL is a model.ocelli whose run folder is around it (net.toml, weights.safetensors, model.onnx, model.qdq.onnx). Exit code
/// 1 when Burn and tract differ by more than 1e-4 on a logit, when a layer fed the same inputs differs from tract's by more than
/// one step, when a quantized weight is not the float one rounded, when a constant of the model file is not the quantized network's,
/// or when device and host differ in one byte. What int8 costs is printed beside: the signal-to-noise ratio of each layer against the float
/// network, and the worst layer. A network from elsewhere may be checked with pictures of other classes than its own; how often int8 and
/// float name the same class is then printed in place of accuracies. Where the board cannot be emulated the command fails (exit code 2); --no-device leaves it out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model.ocelli, or its run folder (required but with --vectors, --golden and --onnx-node-tests).
    #[arg(required_unless_present_any = ["vectors", "golden", "onnx_node_tests"])]
    model: Option<PathBuf>,
    /// Folder of the dataset; its test set is used, else its validation set, else what the training set aside (required but with
    /// --vectors, --golden and --onnx-node-tests).
    #[arg(required_unless_present_any = ["vectors", "golden", "onnx_node_tests"])]
    data: Option<PathBuf>,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// The board to emulate (default: qemu-m4; with --golden and --vectors: none).
    #[arg(long)]
    board: Option<String>,
    /// Do not run the board.
    #[arg(long)]
    no_device: bool,
    /// Check on so many of the pictures, drawn evenly from their classes (default: all).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// Images to run on the board.
    #[arg(long, default_value_t = 100)]
    device_images: usize,
    /// Instead: run every operator case (*.json) of a folder, on the host and, with --board, on an emulated board; exit code 1 when one
    /// fails, 2 when one cannot be run.
    #[arg(long, conflicts_with_all = ["model", "data", "labels", "no_device"])]
    vectors: Option<PathBuf>,
    /// Instead: compare a quantized network (--model M.tflite) with recorded outputs of TensorFlow Lite Micro, byte for byte, on the
    /// host and, with --board, on an emulated board; exit code 1 when an output differs.
    #[arg(long, value_name = "G.json", requires = "tflite", conflicts_with_all = ["model", "data", "labels", "no_device", "vectors"])]
    golden: Option<PathBuf>,
    /// The network of --golden.
    #[arg(long = "model", id = "tflite", value_name = "M.tflite", requires = "golden")]
    tflite: Option<PathBuf>,
    /// Instead: run ONNX's backend node tests (the folder backend/test/data/node of the Python package onnx) in float, those whose
    /// operators `ocelli import` reads; exit code 1 when one of them differs by more than 1e-4.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "data", "labels", "no_device", "vectors", "golden", "board"])]
    onnx_node_tests: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    if let Some(folder) = &args.vectors {
        return run_vectors(folder, args.board.as_deref(), args.json);
    }
    if let (Some(golden), Some(model)) = (&args.golden, &args.tflite) {
        return run_golden(model, golden, args.board.as_deref(), args.json);
    }
    if let Some(folder) = &args.onnx_node_tests {
        return run_onnx_nodes(folder, args.json);
    }
    let (Some(model), Some(data)) = (&args.model, &args.data) else { bail!("MODEL and DATA are needed") };
    let board = find(args.board.as_deref().unwrap_or("qemu-m4"))?;
    if let Some(missing) = not_available(board).filter(|_| !args.no_device) {
        bail!("{missing} (or leave the board out with --no-device)");
    }
    let bundle = Bundle::open(model)?;
    let evaluation = load_evaluation(data, args.labels.as_deref(), &bundle.model.input_spec()?, bundle.path.parent())?;
    let part = evaluation.part;
    let name = data.file_name().map_or_else(|| data.display().to_string(), |name| name.to_string_lossy().into_owned());
    let on = part.in_words(evaluation.set.len(), &name);
    let drawn = args.images.map(|images| evaluation.set.take(images as usize, IMAGES_SEED));
    let mut data = drawn.unwrap_or(evaluation.set);
    let own_classes = !foreign(&bundle, &data)?;
    if !own_classes {
        data.labels = bundle.labels()?;
        data.targets.fill(0);
    }
    let spinner = spinner("checking");
    let mut device = |data: &_| {
        let mut progress = |done| spinner.set_message(format!("{}: {done} images", board.name));
        run_device(board, &bundle.path, data, args.device_images, &mut progress)
    };
    let device: Option<DeviceRunner<'_>> = if args.no_device { None } else { Some(&mut device) };
    let report = check::run(&bundle, &data, device, &mut |what| spinner.set_message(what.to_owned()));
    spinner.finish_and_clear();
    let report = report?;
    // figures of pictures that are not the network's would be no measure of it
    if let Some(run) = bundle.path.parent().filter(|_| own_classes) {
        update_page(run, |figures| {
            let earlier = figures.check.take().and_then(|check| check.device);
            let mut checked = Checked::new(&report, on);
            // a check without the board does not undo what the board measured of the same model
            checked.device = checked.device.or(earlier);
            figures.check = Some(checked);
            Ok(())
        });
    }
    if args.json {
        let rows = report.rows();
        let json = serde_json::json!({
            "passed": report.passed(), "rows": rows, "report": report,
            "may_include_training_images": part == Part::All, "own_classes": own_classes,
            "worst_layer": report.quantization.worst().map(|layer| &layer.name),
        });
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print(&report, own_classes);
    }
    Ok(if report.passed() { Verdict::Done } else { Verdict::Differs })
}

/// Seed by which `--images` draws.
const IMAGES_SEED: u64 = 1;

/// Whether the pictures are of other classes than a network's that was not trained here, so that there is nothing to score.
fn foreign(bundle: &Bundle, data: &Dataset) -> anyhow::Result<bool> {
    let folder = bundle.path.parent().unwrap_or_else(|| Path::new("."));
    let trained_here = [names::HISTORY, names::CHECKPOINTS].iter().any(|name| folder.join(name).exists());
    Ok(!trained_here && bundle.labels()? != data.labels)
}

/// Prints the tables of a check, and accuracies where the pictures' classes are the network's.
fn print(report: &CheckReport, own_classes: bool) {
    let rows =
        report.rows().into_iter().map(|row| vec![row.what, row.found, row.allowed, row.status.word().to_owned()]);
    println!("{}", table(&["check", "found", "allowed", ""], rows, 4));
    let rows = report.quantization.layers.iter().map(|layer| {
        let snr = layer.snr_db.map_or_else(String::new, |db| format!("{db:.1}"));
        vec![layer.name.clone(), snr, format!("{:.2}", layer.mean_steps), format!("{:.1}", layer.max_steps)]
    });
    println!("{}", table(&["int8 against float", "signal/noise, dB", "mean, steps", "largest, steps"], rows, 1));
    if let Some(line) = report.quantization.worst_in_words() {
        println!("{line}");
    }
    let agreement = percent(report.network.float_agreement);
    println!("on {} images float and int8 name the same class for {agreement}", report.images);
    if own_classes {
        println!(
            "accuracy on {} images: Burn {}, tract float {}, int8 runtime {}, tract int8 {}",
            report.images,
            percent(report.float.burn_accuracy),
            percent(report.float.tract_accuracy),
            percent(report.network.runtime_accuracy),
            percent(report.network.tract_accuracy)
        );
    }
}

/// Compares a network with recorded outputs, on the host and on a board.
fn run_golden(model: &Path, golden: &Path, board: Option<&str>, json: bool) -> anyhow::Result<Verdict> {
    let board = board.map(find).transpose()?;
    if let Some(missing) = board.and_then(not_available) {
        bail!("{missing} (or leave the board out)");
    }
    let network = golden::read_network(model)?;
    let recorded = Golden::read(golden)?;
    let pairs = recorded.pairs(&network)?;
    let mut runs = Vec::new();
    let options = Options::for_target(Target::HOST);
    let on_host = host_outputs(&compile(&network, options)?, &pairs)?;
    runs.push(("host", first_difference(&pairs, &on_host)?, None));
    if let Some(board) = board {
        let options = Options::for_target(Target::of(board));
        let on_board = |model: &[u8]| outputs_of_board(board, model, &pairs);
        let spinner = spinner(board.name);
        let outputs = on_board(&compile(&network, options)?)?;
        let difference = first_difference(&pairs, &outputs)?;
        let layer = if outputs == on_host { None } else { first_differing_layer(&network, options, &pairs, on_board)? };
        spinner.finish_and_clear();
        runs.push((board.name, difference, layer));
    }
    let passed = runs.iter().all(|(_, difference, _)| difference.is_none());
    let in_words = |d: &Difference| -> anyhow::Result<[i32; 2]> {
        Ok([recorded.as_recorded(d.found)?, recorded.as_recorded(d.expected)?])
    };
    if json {
        let runs: Vec<_> = runs
            .iter()
            .map(|(on, difference, layer)| {
                let difference = difference.as_ref().map(|d| {
                    in_words(d).map(|[found, expected]| {
                    serde_json::json!({ "case": d.case, "element": d.element, "found": found, "expected": expected })
                })
                });
                Ok(serde_json::json!({ "on": on, "difference": difference.transpose()?, "layer": layer }))
            })
            .collect::<anyhow::Result<_>>()?;
        let report =
            serde_json::json!({ "passed": passed, "cases": pairs.len(), "source": recorded.source, "runs": runs });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for (on, difference, layer) in &runs {
            match difference {
                None => println!("{on}: {} cases, every output byte as recorded", pairs.len()),
                Some(d) => {
                    let [found, expected] = in_words(d)?;
                    println!("{on}: DIFFERS: case {}, element {}: {found}, recorded {expected}", d.case, d.element);
                    if let Some(layer) = layer {
                        println!("{on}: the first layer in which it differs from the host: '{layer}'");
                    }
                }
            }
        }
    }
    Ok(if passed { Verdict::Done } else { Verdict::Differs })
}

/// Cases that are named for one reason; the rest is counted.
const NAMED_CASES: usize = 3;

/// Runs ONNX's backend node tests.
fn run_onnx_nodes(folder: &Path, json: bool) -> anyhow::Result<Verdict> {
    let bar = bar("ONNX node tests", 0);
    let outcomes = onnx_nodes::run_all(folder, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let outcomes = outcomes?;
    let count = |wanted: fn(&NodeOutcome) -> bool| outcomes.values().filter(|outcome| wanted(outcome)).count();
    let passed = count(|outcome| *outcome == NodeOutcome::Passed);
    let folded = count(|outcome| *outcome == NodeOutcome::PassedAsConstant);
    let failed = count(|outcome| matches!(outcome, NodeOutcome::Failed(_)));
    let operators = count(|outcome| matches!(outcome, NodeOutcome::OtherOperator(_)));
    let forms = count(|outcome| matches!(outcome, NodeOutcome::OtherForm(_)));
    if json {
        let report = serde_json::json!({
            "passed": passed, "passed_as_constant": folded, "failed": failed, "other_operator": operators, "other_form": forms, "cases": outcomes,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, outcome) in &outcomes {
            match outcome {
                NodeOutcome::OtherForm(why) => reasons.entry(why).or_default().push(name),
                NodeOutcome::Failed(why) => println!("FAILED {name}: {why}"),
                _ => {}
            }
        }
        println!("out of scope, though the operators are read:");
        for (why, names) in reasons {
            let more = names.len().saturating_sub(NAMED_CASES);
            let others = if more == 0 { String::new() } else { format!(" and {more} more") };
            let named = names.iter().take(NAMED_CASES).copied().collect::<Vec<_>>().join(", ");
            println!("{:4}  {why} ({named}{others})", names.len());
        }
        let rows = [
            ("passed, run in float", passed),
            ("passed, computed while importing", folded),
            ("FAILED", failed),
            ("out of scope: an operator that is not read", operators),
            ("out of scope: another form of one that is", forms),
            ("all", outcomes.len()),
        ];
        let rows = rows.into_iter().map(|(what, count)| vec![what.to_owned(), count.to_string()]);
        println!("{}", table(&["ONNX node tests", "cases"], rows, 2));
    }
    ensure!(
        passed > 0,
        "no case of {} could be run: is that the folder of ONNX's node tests (data/node)?",
        folder.display()
    );
    Ok(if failed == 0 { Verdict::Done } else { Verdict::Differs })
}

fn run_vectors(folder: &Path, board: Option<&str>, json: bool) -> anyhow::Result<Verdict> {
    let board = board.map(find).transpose()?;
    if let Some(missing) = board.and_then(not_available) {
        bail!("{missing} (or leave the board out)");
    }
    let files = vectors::list(folder)?;
    let bar = bar("operator cases", files.len() as u64);
    let mut outcomes: Vec<(&str, &PathBuf, Outcome)> =
        files.iter().map(|file| ("host", file, vectors::run(file))).inspect(|_| bar.inc(1)).collect();
    bar.finish_and_clear();
    if let Some(board) = board {
        let spinner = spinner(board.name);
        let on_board = vectors::run_on_board(board, &files)?;
        spinner.finish_and_clear();
        outcomes.extend(files.iter().zip(on_board).map(|(file, outcome)| (board.name, file, outcome)));
    }
    // passed, failed, not run
    let count = |wanted: &dyn Fn(&str) -> bool| {
        let mut counts = [0; 3];
        for (_, _, outcome) in outcomes.iter().filter(|(on, ..)| wanted(on)) {
            counts[match outcome {
                Outcome::Passed => 0,
                Outcome::Failed(_) => 1,
                Outcome::NotRun(_) => 2,
            }] += 1;
        }
        counts
    };
    let [passed, failed, not_run] = count(&|_| true);
    let reasons = outcomes.iter().filter_map(|(on, file, outcome)| match outcome {
        Outcome::Passed => None,
        Outcome::Failed(why) => Some((on, file, "FAILED", why)),
        Outcome::NotRun(why) => Some((on, file, "not run", why)),
    });
    if json {
        let case = |(on, file, what, why): (&&str, &&PathBuf, &str, &String)| serde_json::json!({ "case": file, "on": on, "outcome": what, "why": why });
        let cases: Vec<_> = reasons.map(case).collect();
        let report = serde_json::json!({
            "on": board.map_or("host", |board| board.name), "passed": passed, "failed": failed, "not_run": not_run, "cases": cases,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for (on, file, what, why) in reasons {
            let name = file.file_name().context("a case without a name")?;
            let place = if board.is_some() { format!("{on}: ") } else { String::new() };
            println!("{place}{what} {}: {why}", name.display());
        }
        let print_counts = |place: &str, [passed, failed, not_run]: [usize; 3]| {
            let others = if not_run == 0 { String::new() } else { format!(", {not_run} not run") };
            println!("{place}{passed} passed, {failed} failed{others}");
        };
        match board {
            None => print_counts("", [passed, failed, not_run]),
            Some(board) => ["host", board.name].iter().for_each(|&place| {
                print_counts(&format!("{place}: "), count(&|on| on == place));
            }),
        }
    }
    if failed > 0 {
        return Ok(Verdict::Differs);
    }
    ensure!(not_run == 0, "{not_run} of {} cases could not be run", outcomes.len());
    Ok(Verdict::Done)
}
