//! `ocelli summary`

use super::Verdict;
use super::import::size;
use super::ui::{percent, table, thousands};
use anyhow::Context;
use ocelli_firmware_tools::boards::{BOARDS, Board, find};
use ocelli_host::compile::Target;
use ocelli_host::network::Network;
use ocelli_host::network::summary::{Summary, summarize};
use ocelli_host::quantize::widened_network;
use ocelli_host::run::{names, read_labels};
use std::path::Path;

/// Print a network's layers, parameters, MACs, flash and RAM
///
/// Print a network's layers with output shape, parameters, multiply-accumulates, and flash and RAM on a chip.
///
/// Flash and RAM are those of the int8 network as it is compiled for the board; RAM is a ring of rows a layer. The last lines say
/// which boards hold it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A net.toml, a run folder, or the name of a built-in network (a wrong name lists them).
    #[arg(required_unless_present = "named")]
    network: Option<String>,
    /// The same, as other commands take it.
    #[arg(id = "named", long = "network", value_name = "NETWORK", conflicts_with = "network")]
    named: Option<String>,
    /// Another size of the input, for instance 96x96.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    input: Option<[u32; 2]>,
    /// Another number of classes.
    #[arg(long)]
    classes: Option<usize>,
    /// The board that it is compiled for.
    #[arg(long, default_value = "qemu-m4")]
    board: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let network = args.network.as_ref().or(args.named.as_ref()).context("name a network")?;
    let path = Path::new(network);
    let folder = if path.file_name() == Some(names::MODEL.as_ref()) { path.parent() } else { Some(path) };
    let inside = |name: &str| folder.map(|folder| folder.join(name)).filter(|file| file.is_file());
    let name = inside(names::NETWORK).map_or_else(|| network.clone(), |file| file.display().to_string());
    let labels = inside(names::LABELS).map(|file| read_labels(&file)).transpose()?;
    let mut network = Network::open(&name)?;
    if let Some([height, width]) = args.input {
        network = network.with_input(height, width)?;
    }
    if let Some(classes) = args.classes {
        network = network.with_classes(classes)?;
    }
    let labels = labels.filter(|_| args.classes.is_none());
    let target = Target::of(find(&args.board)?);
    let summary = summarize(&network, labels.as_deref(), target)?;
    let widened = folder.filter(|_| args.input.is_none() && args.classes.is_none());
    let widened = widened.map(|folder| widened_network(folder, &network)).transpose()?.flatten();
    if args.json {
        let mut json = serde_json::to_value(&summary)?;
        if let Some(wide) = &widened {
            json["widened"] = serde_json::to_value(summarize(wide, labels.as_deref(), target)?)?;
        }
        println!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(Verdict::Done);
    }
    let shape = |[h, w, c]: [u32; 3]| format!("{h} x {w} x {c}");
    // where the network is no chain the table says who reads whom
    let chain = summary.layers.windows(2).all(|pair| pair[1].inputs == [pair[0].name.as_str()]);
    let rows = summary.layers.iter().map(|layer| {
        let name =
            if layer.name == layer.kind { layer.name.clone() } else { format!("{} ({})", layer.name, layer.kind) };
        let inputs = if chain { None } else { Some(layer.inputs.join(", ")) };
        let numbers = [layer.parameters, layer.macs, layer.flash_bytes, layer.ram_bytes].map(thousands);
        std::iter::once(name).chain(inputs).chain([shape(layer.output_shape)]).chain(numbers).collect()
    });
    let inputs = if chain { None } else { Some("reads") };
    let head = std::iter::once("layer (type)").chain(inputs).chain([
        "output shape",
        "parameters",
        "MACs",
        "flash bytes",
        "RAM bytes",
    ]);
    let head: Vec<&str> = head.collect();
    println!("network {}, input {}", summary.network, shape(summary.input_shape));
    println!("{}", table(&head, rows, if chain { 2 } else { 3 }));
    println!("parameters: {}", thousands(summary.parameters));
    println!("MACs: {}", thousands(summary.macs));
    if let Some(layer) = &summary.host_only {
        println!("runs on the host only: layer '{layer}' is a conv3d, which no device has");
        return Ok(Verdict::Done);
    }
    println!("model file (flash): {} bytes", thousands(summary.flash_bytes));
    println!(
        "working memory (RAM): {} bytes, the input's rows ({}) and the schedule's state among them",
        thousands(summary.ram_bytes),
        thousands(summary.input_ram_bytes)
    );
    if let Some(wide) = &widened {
        let Summary { macs, flash_bytes, ram_bytes, .. } = summarize(wide, labels.as_deref(), target)?;
        println!(
            "widened, as it was compiled (--widen): MACs {} ({} more), model file {} bytes, working memory {} bytes",
            thousands(macs),
            percent(macs as f64 / summary.macs.max(1) as f64 - 1.0),
            thousands(flash_bytes),
            thousands(ram_bytes)
        );
        print_boards(wide, flash_bytes)?;
        return Ok(Verdict::Done);
    }
    print_boards(&network, summary.flash_bytes)?;
    Ok(Verdict::Done)
}

/// Flash that the classifier's code takes on a board, camera and log with it, rounded up.
const CODE_BYTES: u64 = 40 << 10;

/// Says which boards hold the network beside the classifier's code and its stack, and what the others lack.
fn print_boards(network: &Network, flash_bytes: u64) -> anyhow::Result<()> {
    let largest = BOARDS.iter().map(|board| u64::from(board.flash_bytes)).max().unwrap_or(0);
    if flash_bytes > largest {
        println!("no microcontroller board holds it: it runs on a Raspberry Pi or a PC (--board host)");
        return Ok(());
    }
    let lacks = BOARDS.iter().map(|board| Ok((board, lack(network, board)?)));
    let (hold, lack): (Vec<_>, Vec<_>) =
        lacks.collect::<anyhow::Result<Vec<_>>>()?.into_iter().partition(|(_, lack)| lack.is_none());
    let names: Vec<&str> = hold.iter().map(|(board, _)| board.name).collect();
    println!("boards that hold it: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    for (board, lack) in lack {
        println!("  not {}: {}", board.name, lack.unwrap_or_default());
    }
    Ok(())
}

/// What a board lacks to hold the network.
fn lack(network: &Network, board: &Board) -> anyhow::Result<Option<String>> {
    let summary = summarize(network, None, Target::of(board))?;
    let flash = summary.flash_bytes + CODE_BYTES;
    let ram = summary.ram_bytes + u64::from(board.stack_bytes);
    let short = |what: &str, needed: u64, has: u32| {
        (needed > u64::from(has))
            .then(|| format!("needs {} bytes of {what}, has {}", thousands(needed), thousands(has.into())))
    };
    Ok(short("flash", flash, board.flash_bytes).or_else(|| short("RAM with stack", ram, board.ram_bytes)))
}
