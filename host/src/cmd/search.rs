//! `ocelli search`

use super::Verdict;
use super::ui::percent;
use anyhow::{Context, ensure};
use ocelli_host::collection::{JOURNAL, Match, Tags, search};
use std::path::{Path, PathBuf};

/// Find photos by their labels
///
/// Lists the photos below a folder whose labels hold a word, best first: those that hold it as whole words, then those that hold it as part
/// of a word ("cat" in "caterpillar"). Case does not count. The score is that of all labels that hold the word, together. Needs the
/// list that `ocelli tag` makes; files are not looked at.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the photos, or the --out of `ocelli tag`.
    folder: PathBuf,
    /// What to look for: a word, or several in quotes.
    word: String,
    /// Lowest score that counts, 0 to 1.
    #[arg(long, default_value_t = 0.3)]
    min_score: f32,
    /// How many photos to list [default: all].
    #[arg(long)]
    top: Option<usize>,
    /// Print JSON.
    #[arg(long, conflicts_with = "paths")]
    json: bool,
    /// Print paths alone, one a line, for other commands.
    #[arg(long)]
    paths: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    ensure!((0.0..=1.0).contains(&args.min_score), "--min-score must be from 0 to 1, it is {}", args.min_score);
    ensure!(args.top != Some(0), "--top must be at least 1");
    let folder = &args.folder;
    ensure!(folder.is_dir(), "there is no folder {}: give the one that the photos are in", folder.display());
    let shown = folder.display();
    let interrupted = folder.join(JOURNAL).is_file();
    let advice = if interrupted { "go on with the `ocelli tag` that was interrupted" } else { "make them with" };
    let tags = Tags::read(folder)?
        .with_context(|| format!("there are no tags in {shown} yet: {advice}: `ocelli tag {shown} --model RUN`"))?;
    if interrupted {
        eprintln!("note: a tagging is at work or was interrupted: new photos are not in the list yet");
    }
    let photos = folder.join(&tags.folder);
    let path = |found: &Match<'_>| if tags.folder == "." { folder } else { &photos }.join(&found.photo.path);
    let mut found = search(&tags, &args.word, args.min_score)?;
    found.truncate(args.top.unwrap_or(usize::MAX));
    if args.json {
        let matches = found.iter().map(|found| {
            serde_json::json!({
                "path": path(found), "score": found.score, "whole_word": found.whole, "labels": found.labels
            })
        });
        println!("{}", serde_json::to_string_pretty(&matches.collect::<Vec<_>>())?);
        return Ok(Verdict::Done);
    }
    if found.is_empty() {
        none(&tags, args)?;
    }
    for found in &found {
        print(found, &path(found), args.paths);
    }
    Ok(Verdict::Done)
}

fn print(found: &Match<'_>, path: &Path, bare: bool) {
    let path = path.display();
    if bare {
        println!("{path}");
    } else {
        let labels = found.labels.iter().map(|tag| format!("{} {}", tag.label, percent(f64::from(tag.score))));
        println!("{:>8}  {path}  ({})", percent(f64::from(found.score)), labels.collect::<Vec<_>>().join(", "));
    }
}

/// Says why nothing is listed, and what would be with a lower score.
fn none(tags: &Tags, args: &Args) -> anyhow::Result<()> {
    let below = search(tags, &args.word, 0.0)?;
    let best = below.iter().map(|found| found.score).fold(0.0, f32::max);
    match below.len() {
        0 => eprintln!("no photo has such a label among its {} likeliest", tags.top),
        1 => eprintln!("no photo reaches {}: one is below it, with {best:.3} (--min-score)", args.min_score),
        count => {
            eprintln!(
                "no photo reaches {}: {count} are below it, the best with {best:.3} (--min-score)",
                args.min_score
            );
        }
    }
    Ok(())
}
