//! `ocelli data`

use super::Verdict;
use super::ui::{bar, table, thousands};
use anyhow::{Context, ensure};
use clap::Subcommand;
use indicatif::ProgressBar;
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use ocelli_host::augment::Augmenter;
use ocelli_host::config::Config;
use ocelli_host::data::{
    DataSource, Division, Duplicate, Feed, FeedOptions, ImageSource, OpenOptions, Split, Survey, contact_sheet, survey,
};
use ocelli_host::files::write_atomically;
use ocelli_host::network::Network;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most corrupt files and duplicates that are named (`--json` names all).
const NAMED: usize = 20;

/// Look at a dataset, divide it, and see what augmentation does to it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Stats(Stats),
    Preview(Preview),
    Split(SplitArgs),
    Bench(Bench),
}

/// What is looked at.
#[derive(Debug, clap::Args)]
struct Dataset {
    /// A folder (class folders, idx or CIFAR files), a .zip, .tar or .tar.gz of one, or a .csv of paths and labels.
    data: PathBuf,
    /// Text file with one label a line, in place of the dataset's own names.
    #[arg(long)]
    labels: Option<PathBuf>,
    /// CIFAR-100's 20 coarse labels in place of its 100 fine ones.
    #[arg(long)]
    coarse_labels: bool,
}

/// Count pictures, name corrupt files, find duplicates
///
/// Pictures of each class and set, their sizes, files that cannot be decoded, and pictures that occur twice, exactly or nearly. Equal pictures
/// in two sets are leaks, since what is judged by them was trained on: exit code 1 when there are such, or corrupt files. Near ones (alike in
/// shapes and colours) are for a look only.
#[derive(Debug, clap::Args)]
struct Stats {
    #[command(flatten)]
    dataset: Dataset,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Draw a contact sheet, plain and augmented
///
/// A PNG with pictures as the network gets them. With --augment each has a row: plain, then as the [augmentation] section of that
/// config.toml changes it in the first epochs of a training, mixed pairs among them (share and class of the other stand below). The same
/// seed gives the same sheet. Keys in pixels are pixels of the network's input: name the network, here or in the config.
#[derive(Debug, clap::Args)]
struct Preview {
    #[command(flatten)]
    dataset: Dataset,
    /// The picture to write.
    #[arg(long)]
    out: PathBuf,
    /// A config.toml with an [augmentation] section.
    #[arg(long)]
    augment: Option<PathBuf>,
    /// A net.toml or the name of a built-in network, whose input size is taken [default: that in [network] of --augment's file, else
    /// pictures of 96x96].
    #[arg(long)]
    network: Option<String>,
    /// Pictures, each class by its share.
    #[arg(long, default_value_t = 24)]
    images: usize,
    /// Seed of choice and augmentation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Divide a dataset into train, validation and test
///
/// Each class is divided by the same fractions; the same seed chooses the same pictures. Files that cannot be decoded are named and belong
/// to no set; equal pictures belong to one set. Writes class folders (pictures are copied), or with --csv a table of the files where they are.
#[derive(Debug, clap::Args)]
struct SplitArgs {
    #[command(flatten)]
    dataset: Dataset,
    /// Folder to write, which must not be there yet; with --csv: the table.
    #[arg(long)]
    out: PathBuf,
    /// Share of each class to validate on.
    #[arg(long, default_value_t = 0.0)]
    validation: f64,
    /// Share of each class to test on.
    #[arg(long, default_value_t = 0.0)]
    test: f64,
    /// Seed of the choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a table with the columns path, label and split.
    #[arg(long)]
    csv: bool,
    /// Link the files instead of copying them, where the file system can.
    #[arg(long)]
    link: bool,
    /// Put the sets of a dataset that is divided already together first.
    #[arg(long)]
    pool: bool,
}

/// Measure how many images a second loading and augmentation make
///
/// For the dataset, network and augmentation of a config.toml: images decoded anew and images from memory, plain and augmented, with one
/// thread and with all. With --run the rate of that training stands below.
#[derive(Debug, clap::Args)]
struct Bench {
    /// A config.toml.
    config: PathBuf,
    /// Pictures to measure with, each class by its share.
    #[arg(long, default_value_t = 2000)]
    images: usize,
    /// How long each rate is measured.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The folder of a training with this config.
    #[arg(long)]
    run: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    match &args.verb {
        Verb::Stats(args) => stats(args),
        Verb::Preview(args) => preview(args),
        Verb::Split(args) => split(args),
        Verb::Bench(args) => bench(args),
    }
}

impl Dataset {
    fn options(&self) -> OpenOptions {
        OpenOptions { labels: self.labels.clone(), coarse_labels: self.coarse_labels }
    }

    fn open(&self) -> anyhow::Result<DataSource> {
        Ok(DataSource::open_with(&self.data, &self.options())?)
    }
}

fn advance(bar: &ProgressBar) -> impl FnMut(usize, usize) + '_ {
    |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    }
}

fn stats(args: &Stats) -> anyhow::Result<Verdict> {
    let source = DataSource::open_to_look(&args.dataset.data, &args.dataset.options())?;
    let bar = bar("looking at pictures", 0);
    let found = survey(&source, &mut advance(&bar))?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print_survey(&found);
    }
    Ok(if found.corrupt.is_empty() && found.leaks() == 0 { Verdict::Done } else { Verdict::Differs })
}

fn print_survey(found: &Survey) {
    println!("{}: {}, {} classes\n", found.path.display(), found.kind, found.labels.len());
    let mut header = vec!["class"];
    header.extend(found.sets.iter().map(|set| set.set.as_str()));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (class, label) in found.labels.iter().enumerate() {
        let counts = found.sets.iter().map(|set| thousands(set.classes[class] as u64));
        rows.push(std::iter::once(label.clone()).chain(counts).collect());
    }
    let all = found.sets.iter().map(|set| thousands(set.images as u64));
    rows.push(std::iter::once("all".to_owned()).chain(all).collect());
    println!("{}\n", table(&header, rows, 1));
    let empty = found.empty_classes();
    if !empty.is_empty() {
        println!("note: no pictures of {}: a training refuses that; add some, or remove the class\n", empty.join(", "));
    }
    if let [only] = found.labels.as_slice() {
        println!("note: all pictures are of one class, {only}: a training needs two\n");
    }
    let images: usize = found.sets.iter().map(|set| set.images).sum();
    let range = |[least, median, most]: [u32; 3]| {
        if least == most { least.to_string() } else { format!("{least} to {most}, median {median}") }
    };
    println!("width    {} pixels\nheight   {} pixels", range(found.width), range(found.height));
    println!("gray     {} of {} pictures", thousands(found.gray as u64), thousands(images as u64));
    if found.file_bytes > 0 {
        println!("files    {} bytes", thousands(found.file_bytes));
    }
    println!("corrupt  {} files", found.corrupt.len());
    for corrupt in found.corrupt.iter().take(NAMED) {
        println!("         {} ({}): {}", corrupt.path.display(), corrupt.set, corrupt.reason);
    }
    print_rest(found.corrupt.len());
    for line in found.passed_over.lines() {
        println!("beside   {line}");
    }
    let count = |of: fn(&Duplicate) -> bool| found.duplicates.iter().filter(|duplicate| of(duplicate)).count();
    let near = if found.near_duplicates_searched {
        format!("{} near", count(|d| !d.exact))
    } else {
        "near ones not looked for among so many pictures".to_owned()
    };
    println!(
        "twice    {} (groups of pictures): {} exact, {near}; {} exact across sets, {} across classes",
        found.duplicates.len(),
        count(|d| d.exact),
        found.leaks(),
        count(|d| d.across_classes)
    );
    for duplicate in found.duplicates.iter().take(NAMED) {
        let images: Vec<String> =
            duplicate.images.iter().map(|i| format!("{} ({}, {})", i.name, i.set, i.class)).collect();
        let what = match (duplicate.exact, duplicate.across_sets, duplicate.across_classes) {
            (true, true, true) => "leak, two classes (exact)",
            (true, true, false) => "leak (exact)",
            (true, false, true) => "two classes (exact)",
            (true, false, false) => "twice (exact)",
            (false, true, true) => "note: alike, in two sets and classes (near)",
            (false, true, false) => "note: alike, in two sets (near)",
            (false, false, true) => "note: alike, in two classes (near)",
            (false, false, false) => "note: alike (near)",
        };
        println!("         {what}: {}", images.join(if duplicate.exact { " = " } else { " ~ " }));
    }
    print_rest(found.duplicates.len());
}

fn print_rest(count: usize) {
    if count > NAMED {
        println!("         and {} more: --json names all", count - NAMED);
    }
}

fn preview(args: &Preview) -> anyhow::Result<Verdict> {
    ensure!(args.images > 0, "--images must be at least 1");
    let config = args.augment.as_deref().map(Config::read).transpose()?;
    let named = config.as_ref().map(|config| config.network.file.clone()).filter(|file| !file.is_empty());
    let network = args.network.clone().or(named);
    let in_pixels = config.as_ref().is_some_and(|c| c.augmentation.cutout > 0 || c.augmentation.random_crop > 0);
    if network.is_none() && in_pixels {
        eprintln!(
            "note: no network is named (--network, or [network] file in the config), so pictures are drawn at 96x96: random_crop and cutout are \
             pixels of the network's input, and the cutout's colour is its mean; a training shows them otherwise"
        );
    }
    let spec = match network {
        Some(network) => Network::open(&network)?.input,
        None => InputSpec {
            shape: Shape::new(96, 96, 3),
            color: ColorOrder::Rgb,
            resize: Resize::CenterCrop,
            mean: [0.5; 3],
            std: [1.0; 3],
        },
    };
    let augmenter = config.as_ref().map(|config| Augmenter::new(&config.augmentation, &spec)).transpose()?;
    if let Some(config) = config.filter(|config| config.augmentation.is_none()) {
        eprintln!("note: the config has no [augmentation]: nothing is changed ({})", config.dataset.path.display());
    }
    let source = args.dataset.open()?;
    let split = source.splits()[0];
    let bar = bar("loading pictures", 0);
    let set = source.sample(split, &spec, args.images, args.seed, &mut advance(&bar))?;
    bar.finish_and_clear();
    for skipped in set.skipped() {
        eprintln!("warning: skipped {}: {}", skipped.path.display(), skipped.reason);
    }
    let drawn = Arc::new(set.head(args.images)?);
    let sheet = contact_sheet(&drawn, spec.color, augmenter.as_ref(), args.seed)?;
    let mut png = std::io::Cursor::new(Vec::new());
    sheet.write_to(&mut png, image::ImageFormat::Png)?;
    write_atomically(&args.out, png.get_ref())?;
    println!("{} pictures of the {split} set in {}", set.len(), args.out.display());
    Ok(Verdict::Done)
}

fn split(args: &SplitArgs) -> anyhow::Result<Verdict> {
    let source = args.dataset.open()?;
    let bar = bar("looking at pictures", 0);
    let shares = [args.validation, args.test];
    let division = Division::draw(&source, shares, args.seed, args.pool, &mut advance(&bar))?;
    bar.finish_and_clear();
    for skipped in division.skipped().iter().take(NAMED) {
        eprintln!("warning: left out {}: {}", skipped.path.display(), skipped.reason);
    }
    if division.skipped().len() > NAMED {
        eprintln!("warning: left out {} more files that cannot be decoded", division.skipped().len() - NAMED);
    }
    for line in source.passed_over().lines() {
        eprintln!("note: {line}");
    }
    if division.kept_together() > 0 {
        eprintln!("note: {} groups of equal pictures, each of which is in one set", division.kept_together());
    }
    if args.csv {
        division.write_csv(&args.out)?;
    } else {
        division.write_folders(&args.out, args.link)?;
    }
    let counts: Vec<String> = Split::ALL
        .into_iter()
        .map(|split| (split, division.count(split)))
        .filter(|(_, count)| *count > 0)
        .map(|(split, count)| format!("{} {split}", thousands(count as u64)))
        .collect();
    println!("{} in {}", counts.join(", "), args.out.display());
    Ok(Verdict::Done)
}

fn bench(args: &Bench) -> anyhow::Result<Verdict> {
    ensure!(args.images > 0, "--images must be at least 1");
    let time = Duration::try_from_secs_f64(args.seconds).context("--seconds must not be negative")?;
    let config = Config::read(&args.config)?;
    config.validate()?;
    let network = Network::open(&config.network.file)?;
    let source = config.dataset.open()?;
    let augmenter = Augmenter::new(&config.augmentation, &network.input)?;
    let bar = bar("loading pictures", 0);
    let streamed =
        source.sample(Split::Train, &network.input, args.images, config.training.seed, &mut advance(&bar))?;
    bar.finish_and_clear();
    let memory: Arc<dyn ImageSource> = Arc::new(streamed.head(args.images)?);
    let streamed: Arc<dyn ImageSource> = Arc::new(streamed);
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rates = Vec::new();
    for (what, set) in [("decoded anew", &streamed), ("from memory", &memory)] {
        for (and, augmenter) in [("", None), (", augmented", Some(&augmenter))] {
            if augmenter.is_some() && config.augmentation.is_none() {
                continue;
            }
            for threads in if all > 1 { vec![1, all] } else { vec![1] } {
                let options = FeedOptions {
                    batch_size: config.training.batch_size,
                    seed: config.training.seed,
                    threads,
                    augmenter: augmenter.cloned(),
                    ..FeedOptions::default()
                };
                rates.push((format!("{what}{and}"), threads, rate(&Feed::new(Arc::clone(set), options), time)?));
            }
        }
    }
    let training = args.run.as_deref().map(|run| training_rate(run, &config, &source)).transpose()?;
    if args.json {
        let rows = rates.iter().map(|(what, threads, rate)| {
            serde_json::json!({ "images": what, "threads": threads, "images_per_second": rate })
        });
        let report = serde_json::json!({ "feed": rows.collect::<Vec<_>>(), "training_images_per_second": training });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Verdict::Done);
    }
    let shape = network.input.shape;
    println!(
        "{} pictures of {}, {shape}, batches of {}",
        memory.len(),
        source.path().display(),
        config.training.batch_size
    );
    let row = |what: &str, threads: String, rate: f64| vec![what.to_owned(), threads, thousands(rate.round() as u64)];
    let mut rows: Vec<_> = rates.iter().map(|(what, threads, rate)| row(what, threads.to_string(), *rate)).collect();
    if let Some(training) = training {
        rows.push(row("the training, with its validation", String::new(), training));
    }
    println!("{}", table(&["images", "threads", "images/s"], rows, 1));
    Ok(Verdict::Done)
}

/// Images a second of whole epochs, or of as much of one as there is time for.
fn rate(feed: &Feed, time: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut images = 0;
    for epoch in 1.. {
        for batch in feed.epoch(epoch) {
            images += batch?.len();
            if began.elapsed() > time {
                return Ok(images as f64 / began.elapsed().as_secs_f64());
            }
        }
    }
    Ok(0.0)
}

/// Images a second over a whole training, by its history.
fn training_rate(run: &Path, config: &Config, source: &DataSource) -> anyhow::Result<f64> {
    let path = run.join(ocelli_host::run::names::HISTORY);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let column = |name: &str| -> Option<f64> {
        let at = text.lines().next()?.split(',').position(|column| column == name)?;
        text.lines().last()?.split(',').nth(at)?.parse().ok()
    };
    let (epochs, seconds) = column("epoch").zip(column("seconds")).with_context(|| {
        format!(
            "{} has no epochs with their seconds: train with `ocelli train --out {}`",
            path.display(),
            run.display()
        )
    })?;
    let images = source.count(Split::Train).unwrap_or(0) as f64;
    let held_out = match (config.dataset.validation_split, source.validation_split()) {
        (Some(share), _) => share,
        (None, Some(_)) => 0.0,
        (None, None) => config.dataset.validation_fraction,
    };
    Ok(images * (1.0 - held_out) * epochs / seconds.max(1e-9))
}
