//! Runs the photos of a collection on all cores: each thread reads, decodes and classifies one photo at a time, so that memory holds a
//! photo a thread and the list.

use super::journal::Journal;
use super::list::{ModelId, Photo, Tag, Tags};
use super::plan::{Anew, Plan, outdated};
use super::sha256;
use super::walk::{Found, Walk, walk};
use crate::data::{MAX_FILE_BYTES, RawImage, to_input};
use crate::files::relative_to;
use crate::model::{ModelBytes, classify, probabilities};
use anyhow::{Context, bail, ensure};
use ocelli::image::InputSpec;
use ocelli::runtime::Session;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// What is tagged, how, and where the list goes.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The folder of the photos.
    pub folder: &'a Path,
    /// The folder of the list, made where it is missing.
    pub out: &'a Path,
    /// The model.
    pub model: &'a ModelBytes,
    /// What the model is called.
    pub name: &'a str,
    /// Labels that are kept of each photo.
    pub top: usize,
    /// Threads.
    pub threads: usize,
    /// Whether to run all photos, whatever is known of them.
    pub anew: bool,
}

/// What happens in a tagging.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The photos are listed; none has been run yet.
    Begin {
        /// Photos below the folder.
        photos: usize,
        /// Those to be run.
        todo: usize,
        /// Photos that an interrupted run did.
        resumed: usize,
        /// Photos of the list that are not there any more.
        gone: &'a [String],
        /// Folders that cannot be read, with the reason.
        unreadable: &'a [(String, String)],
        /// Why all are run.
        anew: Option<&'a Anew>,
    },
    /// A photo is done.
    Done,
}

/// What a tagging did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The list as it was written; `None` when the tagging was stopped: what was done is kept, and the next one goes on with it.
    pub tags: Option<Tags>,
    /// Photos below the folder.
    pub photos: usize,
    /// Photos that were new or had changed.
    pub todo: usize,
    /// Those of them that the network ran on, or that could not be decoded.
    pub run: usize,
    /// Those of them whose content was known under another name or date.
    pub known: usize,
    /// Photos of the former list that are not there any more.
    pub gone: usize,
}

/// Tags the photos below a folder: runs those that are new or have changed and writes the list. `stop` ends it early.
///
/// # Errors
/// When there are no photos, the list that is there is damaged or another folder's, the model takes no pictures, or the disk is full.
pub fn tag(options: &Options<'_>, stop: &AtomicBool, observe: &mut dyn FnMut(Event<'_>)) -> anyhow::Result<Outcome> {
    let Options { folder, out, model, name, top, .. } = *options;
    let (spec, labels) = (model.input_spec()?, labels(model)?);
    let walk = walk(folder)?;
    ensure!(
        !walk.photos.is_empty(),
        "no photos below {}: give the folder that they are in (a list of tags that is there stays as it is)",
        folder.display()
    );
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make the folder {}: choose another with --out", out.display()))?;
    let id = ModelId { name: name.to_owned(), sha256: sha256(model.as_slice()) };
    let mut list = Tags::new(place(folder, out)?, id, top.min(labels.len()), labels);
    let (mut known, anew) = known(options, &list)?;
    let (mut journal, resumed) = Journal::open(out, &list.folder, &list.model, list.top, options.anew)?;
    let begun = resumed.len();
    known.extend(resumed);
    let mut plan = Plan::new(&walk, known);
    observe(Event::Begin {
        photos: walk.photos.len(),
        todo: plan.todo.len(),
        resumed: begun,
        gone: &plan.gone,
        unreadable: &walk.unreadable,
        anew: anew.as_ref(),
    });
    let kept = std::mem::take(&mut plan.kept);
    let work =
        Work { options, spec, labels: &list.labels, top: list.top, plan: &plan, next: AtomicUsize::new(0), stop };
    let mut run = 0;
    let mut done = Vec::with_capacity(plan.todo.len());
    work.on_all_threads(&mut |photo, ran| {
        journal.add(&photo)?;
        run += usize::from(ran);
        done.push(photo);
        observe(Event::Done);
        Ok(())
    })?;
    let (todo, finished) = (plan.todo.len(), done.len());
    let mut outcome =
        Outcome { tags: None, photos: walk.photos.len(), todo, run, known: finished - run, gone: plan.gone.len() };
    if finished == todo {
        list.extend(kept.into_iter().chain(done).chain(unnamed(&walk)));
        list.write(out)?;
        journal.remove()?;
        outcome.tags = Some(list);
    }
    Ok(outcome)
}

/// The model's names of its classes; numbers where it has none.
fn labels(model: &ModelBytes) -> anyhow::Result<Vec<String>> {
    let model = model.model()?;
    let classes = model.output().and_then(|output| output.shape().elements()).unwrap_or(0) as usize;
    Ok((0..classes).map(|class| model.label(class).map_or_else(|| class.to_string(), str::to_owned)).collect())
}

/// The folder of the photos as seen from that of the list.
fn place(folder: &Path, out: &Path) -> anyhow::Result<String> {
    let place = relative_to(folder, out)?;
    let text = place.to_str().with_context(|| format!("the name of {} is not UTF-8: rename it", folder.display()))?;
    Ok(if text.is_empty() { ".".to_owned() } else { text.to_owned() })
}

/// What the list that is there knows of the photos, and why that is of no use.
fn known(options: &Options<'_>, list: &Tags) -> anyhow::Result<(Vec<Photo>, Option<Anew>)> {
    if options.anew {
        return Ok((Vec::new(), Some(Anew::Asked)));
    }
    let Some(before) = Tags::read(options.out)? else { return Ok((Vec::new(), None)) };
    if before.folder != list.folder {
        bail!(
            "{} holds the tags of another folder ({}): choose another with --out, or replace them with --anew",
            options.out.display(),
            before.folder
        );
    }
    if let Some(anew) = outdated(&before, &list.model, list.top) {
        return Ok((Vec::new(), Some(anew)));
    }
    Ok((before.photos.into_iter().chain(before.corrupt).collect(), None))
}

fn unnamed(walk: &Walk) -> impl Iterator<Item = Photo> + '_ {
    let reason = "its name is not UTF-8: rename it";
    walk.unnamed.iter().map(|path| Photo { reason: Some(reason.to_owned()), ..Photo::of(path, 0, 0) })
}

impl Photo {
    fn of(path: &str, bytes: u64, modified: i64) -> Self {
        let (sha256, labels) = (String::new(), Vec::new());
        Self { path: path.to_owned(), bytes, modified, sha256, labels, reason: None }
    }
}

/// What the threads share.
struct Work<'a> {
    options: &'a Options<'a>,
    spec: InputSpec,
    labels: &'a [String],
    top: usize,
    plan: &'a Plan,
    next: AtomicUsize,
    stop: &'a AtomicBool,
}

/// A photo that is done, and whether it was run (or could not be), not known by its content.
type Done = (Photo, bool);

impl Work<'_> {
    /// Gives every photo that is done to `each`, in any order, until all are or `stop` is set.
    fn on_all_threads(&self, each: &mut dyn FnMut(Photo, bool) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let threads = self.options.threads.clamp(1, self.plan.todo.len().max(1));
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<Done>(4 * threads);
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let sender = sender.clone();
                    scope.spawn(move || self.on_this_thread(&sender))
                })
                .collect();
            drop(sender);
            let result = receiver.iter().try_for_each(|(photo, ran)| each(photo, ran));
            drop(receiver); // threads that have more to give end
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread was lost; its message is above: please report it"))??;
            }
            result
        })
    }

    fn on_this_thread(&self, sender: &SyncSender<Done>) -> anyhow::Result<()> {
        self.options.model.with_session(|session| {
            while !self.stop.load(Ordering::Relaxed) {
                let Some(found) = self.plan.todo.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
                if sender.send(self.photo(session, found)?).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn photo(&self, session: &mut Session<'_, '_>, found: &Found) -> anyhow::Result<Done> {
        let mut photo = Photo::of(&found.path, found.bytes, found.modified);
        let bytes = match read(&self.options.folder.join(&found.path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                photo.reason = Some(format!("cannot be read: {error}"));
                return Ok((photo, true));
            }
        };
        photo.sha256 = sha256(&bytes);
        if let Some(known) = self.plan.known.get(&photo.sha256).filter(|known| known.bytes == photo.bytes) {
            (photo.labels, photo.reason) = (known.labels.clone(), known.reason.clone());
            return Ok((photo, false));
        }
        match self.input(&bytes) {
            Ok(pixels) => photo.labels = self.best(&classify(session, &pixels)?),
            Err(reason) => photo.reason = Some(reason),
        }
        Ok((photo, true))
    }

    /// Decodes a photo at the network's size. One bad file among thousands must not end the run, whatever it does to the decoder.
    fn input(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let decode = || to_input(&RawImage::decode(bytes)?, &self.spec).map_err(|error| error.to_string());
        catch_unwind(AssertUnwindSafe(decode))
            .unwrap_or_else(|_| Err("the decoder failed on it: please report it, with the file".to_owned()))
    }

    /// The likeliest labels, the best first, equal ones in the model's order; none that is out of the question but the first.
    fn best(&self, scores: &[i8]) -> Vec<Tag> {
        let mut best: Vec<(usize, f32)> = probabilities(scores).into_iter().enumerate().collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1));
        let likely = best.iter().take(self.top).enumerate().filter(|(place, (_, score))| *place == 0 || *score > 0.0);
        likely.filter_map(|(_, &(class, score))| Some(Tag { label: self.labels.get(class)?.clone(), score })).collect()
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
