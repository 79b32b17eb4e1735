//! `ocelli push`

use super::Verdict;
use super::ui::thousands;
use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use ocelli::model::records::layout;
use ocelli_firmware_tools::push::key::hex;
use ocelli_firmware_tools::push::serial::{ReadWrite, open};
use ocelli_firmware_tools::push::{DeviceInfo, Options, Progress, SecretKey, Sender, Stream};
use ocelli_host::model::ModelBytes;
use ocelli_host::run::model_path;
use std::path::PathBuf;
use std::time::Duration;

/// Send a model to a device over a serial line, without flashing it anew
///
/// Its firmware must take models: `ocelli flash --updatable`. `ocelli boards` says which boards can, and over which line.
///
/// The device keeps the model that it has until the new one is whole and checked (docs/update.md); power may fail at any time. A device
/// whose firmware was built with a key takes signed models only: make a key with --new-key, flash with `ocelli flash --key`, and sign
/// with --key.
///
/// Without --model it says what is on the device.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["port", "new_key"]))]
pub struct Args {
    /// The serial port, for instance /dev/ttyACM0 or COM3; or tcp:HOST:PORT.
    #[arg(long)]
    port: Option<String>,
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: Option<PathBuf>,
    /// Sign the model by the key in this file.
    #[arg(long, value_name = "FILE", requires = "model")]
    key: Option<PathBuf>,
    /// Make a new key in this file, and print its public part.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "key"])]
    new_key: Option<PathBuf>,
    /// Bits a second of the serial port (USB ports take any).
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// Milliseconds that an answer may take: longer than the device needs to erase a page and to check a model.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    if let Some(path) = &args.new_key {
        let key = SecretKey::create(path)?;
        println!("{}: a new secret key; keep it, and keep it secret", path.display());
        println!("public key, for the firmware (`ocelli flash --key`): {}", key.public_hex());
        return Ok(Verdict::Done);
    }
    let port = args.port.as_ref().context("--port is missing")?;
    // what is wrong with the files is said before the device is asked
    let model = args.model.as_ref().map(|model| -> anyhow::Result<_> {
        let path = model_path(model)?;
        let bytes = ModelBytes::read(&path)?;
        ensure!(
            bytes.model()?.header().layout != layout::BLOCKS,
            "{} was compiled for a PC: compile it for the device's board (`ocelli compile RUN --board BOARD`)",
            path.display()
        );
        Ok((path, bytes))
    });
    let model = model.transpose()?;
    let key = args.key.as_deref().map(SecretKey::read).transpose()?;
    let options = Options { timeout: Duration::from_millis(args.timeout_ms), ..Options::default() };
    let mut sender = Sender::new(open(port, args.baud)?, options);
    match model {
        None => status(&mut sender)?,
        Some((path, bytes)) => {
            let signature = key.as_ref().map(|key| key.sign(bytes.as_slice()));
            let bar = progress_bar(bytes.as_slice().len());
            let pushed = sender.push(bytes.as_slice(), signature.as_ref(), &mut |progress| show(&bar, progress));
            bar.finish_and_clear();
            let pushed = pushed.with_context(|| format!("{} was not sent", path.display()))?;
            let (crc, length) = (pushed.active.crc, thousands(pushed.active.length.into()));
            let slot = pushed.active.slot.map_or("the firmware itself".to_owned(), |(slot, _)| format!("slot {slot}"));
            if pushed.was_there {
                println!("the device has this model already ({length} bytes, CRC-32 {crc:08x}, in {slot})");
            } else {
                let resets = match pushed.restarts {
                    0 => String::new(),
                    count => format!("; the device was reset meanwhile, and the transfer begun anew {count} times"),
                };
                println!(
                    "{}: {length} bytes sent, checked and active (CRC-32 {crc:08x}, in {slot}){resets}",
                    path.display()
                );
            }
        }
    }
    Ok(Verdict::Done)
}

/// Prints what a device says of itself.
fn status(sender: &mut Sender<Stream<Box<dyn ReadWrite>>>) -> anyhow::Result<()> {
    let DeviceInfo { board, capacity_bytes, format_version, arena_bytes, key_id, .. } = sender.hello()?;
    let active = sender.status()?.active;
    println!(
        "{board}: takes models of up to {} bytes, format version {format_version}, with {} bytes of working memory; {}",
        thousands(capacity_bytes.into()),
        thousands(arena_bytes.into()),
        key_id.map_or("signed or not".to_owned(), |id| format!("signed only, by the key {}...", hex(&id)))
    );
    let from =
        active.slot.map_or("the firmware's own".to_owned(), |(slot, number)| format!("slot {slot}, update {number}"));
    println!("active: {} bytes, CRC-32 {:08x} ({from})", thousands(active.length.into()), active.crc);
    Ok(())
}

fn progress_bar(bytes: usize) -> ProgressBar {
    let bar = ProgressBar::new(bytes as u64).with_message("sending");
    let style = ProgressStyle::with_template("{msg:<32} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.received.into());
    if progress.received == progress.total {
        bar.set_message("checking on the device");
    } else if progress.restarts > 0 {
        bar.set_message("sending anew after a reset");
    }
}
