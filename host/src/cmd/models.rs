//! `ocelli models`

use super::Verdict;
use super::ui::{bytes_bar, table, thousands};
use clap::Subcommand;
use ocelli_host::catalogue::{Catalogue, Entry, Kind, Progress, fetch, place};
use std::path::PathBuf;

/// Networks and data sets to fetch: list and fetch
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Fetch(Fetch),
}

/// List what can be fetched
///
/// Name, task, size, licence, and whether it is in the cache. --json adds checksums, addresses, and where the checksums are from.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Fetch a network or a data set
///
/// Downloads it into the platform's cache folder (or below OCELLI_CACHE), checks size and SHA-256 while reading, and prints its path. A
/// transfer that was cut goes on where it was, also with the next command. A file that is not the one that the catalogue means is removed.
#[derive(Debug, clap::Args)]
struct Fetch {
    /// A name that `ocelli models list` prints.
    name: String,
    #[command(flatten)]
    source: Source,
    /// Take it from this file, or from the folder that its files are in, and not from the network.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Folder to put it in [default: its own below the cache folder].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Source {
    /// A catalogue of your own (as host/src/catalogue/catalogue.toml), in place of the built-in one.
    #[arg(long, value_name = "TOML")]
    catalogue: Option<PathBuf>,
}

impl Source {
    fn open(&self) -> anyhow::Result<Catalogue> {
        self.catalogue.as_deref().map_or_else(Catalogue::built_in, Catalogue::read)
    }
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    match &args.verb {
        Verb::List(args) => list(args),
        Verb::Fetch(args) => get(args),
    }
}

/// Whether all files of an entry are in the cache; they are not read.
fn is_there(entry: &Entry) -> bool {
    place(entry).is_ok_and(|folder| entry.files.iter().all(|file| folder.join(&file.name).is_file()))
}

fn list(args: &List) -> anyhow::Result<Verdict> {
    let catalogue = args.source.open()?;
    if args.json {
        let entries = catalogue.entries.iter().map(|entry| {
            serde_json::json!({ "entry": entry, "bytes": entry.bytes(), "cached": is_there(entry), "folder": place(entry).ok() })
        });
        println!("{}", serde_json::to_string_pretty(&entries.collect::<Vec<_>>())?);
        return Ok(Verdict::Done);
    }
    let rows = catalogue.entries.iter().map(|entry| {
        vec![
            entry.name.clone(),
            entry.task.clone(),
            entry.licence.clone(),
            if is_there(entry) { "yes" } else { "" }.to_owned(),
            entry.bytes().map_or_else(|| "not stated".to_owned(), thousands),
        ]
    });
    println!("{}", table(&["name", "task", "licence", "cached", "bytes"], rows, 4));
    println!("ocelli models fetch NAME; licences are their owners', read them before you pass anything on");
    Ok(Verdict::Done)
}

fn get(args: &Fetch) -> anyhow::Result<Verdict> {
    let catalogue = args.source.open()?;
    let entry = catalogue.find(&args.name)?;
    let folder = args.out.clone().map_or_else(|| place(entry), Ok)?;
    let bar = bytes_bar();
    let path = fetch(entry, &folder, args.from.as_deref(), &mut |progress| match progress {
        Progress::There(file) => eprintln!("{}: there already, checksum right", file.name),
        Progress::Begin(file, from) => {
            bar.set_message(file.name.clone());
            bar.set_length(file.bytes.unwrap_or(0));
            bar.set_position(from);
            bar.reset_eta();
            if from > 0 {
                bar.suspend(|| eprintln!("{}: goes on after {} bytes", file.name, thousands(from)));
            }
        }
        Progress::Bytes(bytes) => bar.set_position(bytes),
        Progress::Cut(reason) => bar.suspend(|| eprintln!("warning: {reason}; once more")),
        Progress::Done(file) => bar.suspend(|| eprintln!("{}: done, checksum right", file.name)),
    });
    bar.finish_and_clear();
    let path = path?;
    let shown = path.display();
    if args.json {
        println!("{}", serde_json::json!({ "name": entry.name, "path": path, "licence": entry.licence }));
        return Ok(Verdict::Done);
    }
    println!("{shown}\nlicence: {}", entry.licence);
    match entry.kind {
        Kind::Data => println!("next: ocelli data stats {shown}"),
        Kind::Network => println!("next: ocelli import {shown}"),
    }
    Ok(Verdict::Done)
}
