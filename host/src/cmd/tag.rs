//! `ocelli tag`

use super::Verdict;
use super::train::stop_on_ctrl_c;
use super::ui::{rate_bar, thousands};
use anyhow::ensure;
use ocelli_host::collection::{CSV, Event, JOURNAL, JSON, Options, Outcome, Photo, tag};
use ocelli_host::model::ModelBytes;
use ocelli_host::run::model_path;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Most files of a kind that are named (tags.json names all).
const NAMED: usize = 5;

/// Label every photo below a folder
///
/// Runs the int8 model on every photo below a folder (PNG, JPEG, GIF, BMP, WebP, TIFF, PNM; turned as EXIF says), on all cores, and writes
/// the likeliest labels with their scores to tags.json and tags.csv in that folder. `ocelli search` finds photos in it.
///
/// The next time only new and changed photos are run, told by size and date; a file that was moved or touched is known by its content.
/// Photos that are gone leave the list. With another model, or another --top, all are run anew. Photos that cannot be read are listed
/// with the reason and passed over.
///
/// Ctrl-C, or a crash, loses nothing: what was done is in tags.journal, and the same command goes on with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the photos.
    folder: PathBuf,
    /// A model.ocelli, or a run folder.
    #[arg(long, short)]
    model: PathBuf,
    /// Folder to write tags.json and tags.csv to [default: that of the photos].
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many labels to keep of each photo.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Threads, each with a photo of its own [default: one a core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Run all photos, also those that are known.
    #[arg(long)]
    anew: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    ensure!(args.top > 0, "--top must be at least 1");
    let model = ModelBytes::read(&model_path(&args.model)?)?;
    let out = args.out.as_ref().unwrap_or(&args.folder);
    let all = || std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        folder: &args.folder,
        out,
        model: &model,
        name: &args.model.display().to_string(),
        top: args.top,
        threads: args.threads.map_or_else(all, usize::from),
        anew: args.anew,
    };
    let stop = stop_on_ctrl_c()?;
    let bar = rate_bar("tagging photos", "photos");
    let outcome = tag(&options, &stop, &mut |event| match event {
        Event::Begin { photos, todo, resumed, gone, unreadable, anew } => {
            bar.set_length(todo as u64);
            if let Some(anew) = anew {
                eprintln!("note: {anew}");
            }
            if resumed > 0 {
                eprintln!("note: {} photos were done by a run that was interrupted", thousands(resumed as u64));
            }
            for (folder, reason) in unreadable {
                eprintln!("warning: the folder {folder} cannot be read ({reason}): what is known of its photos stays");
            }
            name("note: gone, so no longer in the list:", gone);
            eprintln!("{} photos, {} of them to run", thousands(photos as u64), thousands(todo as u64));
        }
        Event::Done => bar.inc(1),
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    report(args, &outcome)?;
    let stopped = outcome.tags.is_none() && stop.load(Ordering::Relaxed);
    Ok(if stopped { Verdict::Interrupted } else { Verdict::Done })
}

fn report(args: &Args, outcome: &Outcome) -> anyhow::Result<()> {
    let out = args.out.as_ref().unwrap_or(&args.folder);
    let Outcome { tags, photos, todo, run, known, gone } = outcome;
    let Some(tags) = tags else {
        eprintln!(
            "interrupted: {} of {} photos are done and kept in {}; the same command goes on",
            thousands((run + known) as u64),
            thousands(*todo as u64),
            out.join(JOURNAL).display()
        );
        return Ok(());
    };
    let line = |photo: &Photo| format!("{}: {}", photo.path, photo.reason.as_deref().unwrap_or_default());
    let corrupt: Vec<String> = tags.corrupt.iter().map(line).collect();
    name("warning: passed over", &corrupt);
    if args.json {
        let report = serde_json::json!({
            "tags": out.join(JSON),
            "csv": out.join(CSV),
            "photos": photos,
            "tagged": tags.photos.len(),
            "run": run,
            "known_by_content": known,
            "unchanged": photos - todo,
            "gone": gone,
            "corrupt": tags.corrupt.iter().map(|photo| serde_json::json!({
                "path": photo.path, "reason": photo.reason
            })).collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{} photos tagged: {} run, {} known by their content, {} as they were; {} corrupt, {} gone",
        thousands(tags.photos.len() as u64),
        thousands(*run as u64),
        thousands(*known as u64),
        thousands((photos - todo) as u64),
        thousands(tags.corrupt.len() as u64),
        thousands(*gone as u64)
    );
    println!("in {} and {}", out.join(JSON).display(), out.join(CSV).display());
    Ok(())
}

/// Names the first of many.
fn name(what: &str, all: &[String]) {
    for one in all.iter().take(NAMED) {
        eprintln!("{what} {one}");
    }
    if all.len() > NAMED {
        eprintln!("{what} {} more", thousands((all.len() - NAMED) as u64));
    }
}
