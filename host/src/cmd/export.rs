//! `ocelli export`

use super::Verdict;
use super::ui::{load_evaluation, thousands};
use anyhow::{bail, ensure};
use ocelli_host::files::{check_writable, write_atomically};
use ocelli_host::interchange::export::{Format, Outputs, Source, c_array, c_name};
use std::path::{Path, PathBuf};

/// Write a network for other programs (ONNX, TensorFlow Lite, C)
///
/// onnx: the float network. onnx-qdq: the quantized one, as ONNX Runtime and others read it. tflite: the quantized one for TensorFlow Lite
/// and TensorFlow Lite Micro, which compute the same bytes. ocelli: the compiled model. c-array: one of these as a C source, for firmware
/// without a file system.
///
/// Layers keep their names. A layer that a format cannot hold is named, and nothing is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run folder, a model.ocelli, or an .onnx or .tflite file of others; with --random-weights a net.toml or the name of a built-in
    /// network.
    #[arg(value_name = "RUN_OR_MODEL")]
    source: PathBuf,
    /// What to write.
    #[arg(long, short)]
    format: FormatName,
    /// The file to write (default: the network's name with the format's ending, here).
    #[arg(long)]
    out: Option<PathBuf>,
    /// The file that a C array holds.
    #[arg(long, default_value = "ocelli", value_name = "FORMAT")]
    of: FormatName,
    /// Name of the C array (default: the network's name and the format of its file).
    #[arg(long)]
    array: Option<String>,
    /// Export this network with random weights, quantized on noise: to try another runtime before there is a training.
    #[arg(long)]
    random_weights: bool,
    /// Write FILE.outputs.json too: this many inputs of noise, and as many pictures of --data, with what Ocelli computes of them.
    #[arg(long, value_name = "N")]
    with_outputs: Option<usize>,
    /// A dataset, for --with-outputs.
    #[arg(long, requires = "with_outputs")]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    Onnx,
    OnnxQdq,
    Tflite,
    Ocelli,
    CArray,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Onnx => Self::Onnx,
            FormatName::OnnxQdq => Self::OnnxQdq,
            FormatName::Tflite => Self::Tflite,
            FormatName::Ocelli => Self::Ocelli,
            FormatName::CArray => Self::CArray,
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let (format, of) = (Format::from(args.format), Format::from(args.of));
    ensure!(of != Format::CArray, "--of names the file that the array holds: ocelli, tflite, onnx or onnx-qdq");
    let source = if args.random_weights {
        Source::random(&args.source.display().to_string())?
    } else {
        Source::open(&args.source)?
    };
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.{}", source.name, format.ending())));
    check_writable(&out)?;
    if let (Ok(ours), Ok(theirs)) = (out.canonicalize(), args.source.canonicalize())
        && ours == theirs
    {
        bail!("{} is the file that is read: name another with --out", out.display());
    }
    let bytes = if format == Format::CArray {
        let name = args.array.clone().unwrap_or_else(|| c_name(&format!("{}_{}", source.name, of.ending())));
        c_array(&name, &format!("The network '{}' as a file of the format {of}", source.name), &source.bytes(of)?)?
            .into()
    } else {
        ensure!(args.array.is_none(), "--array is for --format c-array");
        source.bytes(format)?
    };
    let holds_qdq = format == Format::OnnxQdq || (format == Format::CArray && of == Format::OnnxQdq);
    if holds_qdq && source.quantized()?.layers.iter().any(|layer| layer.unsigned) {
        eprintln!(
            "note: this network came as uint8 and rounds as TensorFlow Lite's uint8 kernels do: runtimes of ONNX round otherwise, and are \
             off by a step here and there"
        );
    }
    let outputs = args.with_outputs.map(|count| outputs(args, &source, format, count)).transpose()?;
    write_atomically(&out, &bytes)?;
    let beside = outputs
        .map(|outputs| {
            let path = beside(&out);
            write_atomically(&path, serde_json::to_string(&outputs)?.as_bytes())?;
            anyhow::Ok(path)
        })
        .transpose()?;
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "file": out, "format": format.to_string(), "bytes": bytes.len(), "outputs": beside })
        );
        return Ok(Verdict::Done);
    }
    println!("{}: {}, {} bytes", out.display(), in_words(format), thousands(bytes.len() as u64));
    if let Some(path) = beside {
        println!("{}: inputs, and what Ocelli computes of them", path.display());
    }
    Ok(Verdict::Done)
}

/// The file's name with `.outputs.json` behind it.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".outputs.json");
    PathBuf::from(name)
}

fn outputs(args: &Args, source: &Source, format: Format, count: usize) -> anyhow::Result<Outputs> {
    ensure!(count > 0, "--with-outputs must be at least 1");
    let pictures = match &args.data {
        None => None,
        Some(data) => {
            let spec = match format {
                Format::Onnx => source.float()?.0.input,
                _ => source.compiled()?.input_spec()?,
            };
            let run = args.source.is_dir().then_some(args.source.as_path());
            Some(load_evaluation(data, None, &spec, run)?.set)
        }
    };
    Outputs::compute(source, format, pictures.as_ref(), count)
}

const fn in_words(format: Format) -> &'static str {
    match format {
        Format::Onnx => "ONNX, float",
        Format::OnnxQdq => "ONNX, quantized (QDQ)",
        Format::Tflite => "TensorFlow Lite, int8",
        Format::Ocelli => "a compiled model",
        Format::CArray => "a C source",
    }
}
