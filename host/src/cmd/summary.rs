//! `ocelli summary`

use super::Verdict;
use super::ui::{table, thousands};
use ocelli_firmware_tools::boards::find;
use ocelli_host::compile::Target;
use ocelli_host::network::Network;
use ocelli_host::network::summary::summarize;
use ocelli_host::run::{names, read_labels};
use std::path::Path;

/// Print a network's layers, parameters, MACs, flash and RAM
///
/// Print a network's layers with output shape, parameters, multiply-accumulates, and flash and RAM on a chip.
///
/// Flash and RAM are those of the int8 network as it is compiled; RAM is a ring of rows a layer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A net.toml, a run folder, or the name of a built-in network (mnist-cnn, cifar-cnn, resnet8, mobilenet-v1-025).
    network: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let path = Path::new(&args.network);
    let folder = if path.file_name() == Some(names::MODEL.as_ref()) { path.parent() } else { Some(path) };
    let inside = |name: &str| folder.map(|folder| folder.join(name)).filter(|file| file.is_file());
    let name = inside(names::NETWORK).map_or_else(|| args.network.clone(), |file| file.display().to_string());
    let labels = inside(names::LABELS).map(|file| read_labels(&file)).transpose()?;
    let summary = summarize(&Network::open(&name)?, labels.as_deref(), Target::of(find("qemu-m4")?))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
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
    println!("model file (flash): {} bytes", thousands(summary.flash_bytes));
    println!(
        "working memory (RAM): {} bytes, the input's rows ({}) and the schedule's state among them",
        thousands(summary.ram_bytes),
        thousands(summary.input_ram_bytes)
    );
    Ok(Verdict::Done)
}
