//! The classifying loop: frames in, results out, until there are no more or somebody ends it.

mod pace;
mod report;
#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use crate::cli::RunArgs;
use crate::files::{Keeper, RealDisk};
use crate::frame::Frame;
use crate::live::{Caption, Live};
use crate::model::{Classifier, ModelFile, cores};
use crate::output::{Output, Written};
use crate::paint::{Screen, paint};
use crate::result::{Outcome, top};
use crate::screen::{Framebuffer, Geometry, Overlay, PngFile};
use crate::services::Services;
use crate::smoothing::Smoothing;
use crate::source::capture::capture;
use crate::source::mailbox::{Arrival, Mailbox, Report};
use crate::source::{Camera, End};
use crate::stats::Rate;
use crate::web::{self, Access, Site};
use crate::{mqtt, say};
use anyhow::{Context, bail};
use pace::Pace;
pub use report::Figures;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long to wait for a frame before looking whether the run is to end.
const PATIENCE: Duration = Duration::from_millis(200);
/// Best classes that outputs get.
const TOP: usize = 5;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There were no more frames, or enough.
    Done,
    /// A picture of a folder could not be read.
    Unreadable,
    /// Nobody reads the output.
    Closed,
}

/// Classifies what the arguments ask for, to standard output.
///
/// # Errors
/// When the model, the source or an output cannot be used at all.
pub fn run(args: &RunArgs) -> anyhow::Result<Ending> {
    let camera = args.source()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // the second one ends the program at once
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let (ending, figures) = run_with(args, camera, std::io::stdout().lock(), &stop)?;
    say(figures.summary());
    Ok(ending)
}

/// Classifies the frames of a camera until `stop`.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    args: &RunArgs,
    mut camera: Box<dyn Camera>,
    out: impl Write,
    stop: &AtomicBool,
) -> anyhow::Result<(Ending, Figures)> {
    let file = ModelFile::read(&args.model)?;
    let labels = file.labels()?;
    let smoothing = Smoothing::new(args.smoothing(), labels.len(), 10 * u16::from(args.unknown_below))?;
    #[cfg(feature = "verify")]
    let verifier = if args.verify { Some(crate::verify::Verifier::new(&file, args.verify_every)?) } else { None };
    let keeper = args.keep.as_ref().map(|dir| Arc::new(Keeper::new(dir.clone(), labels.clone(), Box::new(RealDisk))));
    if let Some((keeper, dir)) = keeper.as_ref().zip(args.keep.as_ref()) {
        match keeper.try_folder() {
            // there may be room later
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                say(format!("--keep {}: {error}", dir.display()));
            }
            tried => tried.with_context(|| format!("--keep {}: cannot write there", dir.display()))?,
        }
    }
    let live = Arc::new(Live::default());
    let results = start_services(args, &live, keeper.as_ref())?;
    let mut screens = screens(args)?;
    if args.page().is_some() || !screens.is_empty() {
        let (live, every) = (Arc::clone(&live), Duration::from_secs_f64(1.0 / args.view_fps));
        let work = move || paint(&live, &mut screens, every, &say);
        std::thread::Builder::new().name("paint".to_owned()).spawn(work).context("cannot start a thread")?;
    }
    let (is_live, ender, name) = (camera.is_live(), camera.ender(), camera.name());
    let mailbox = Arc::new(Mailbox::new(is_live && !args.every_frame));
    let inbox = Arc::clone(&mailbox);
    let reader = std::thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || capture(&mut *camera, &inbox, Backoff::default()))
        .context("cannot start a thread")?;
    let done = file.with_classifier(args.threads.map_or_else(cores, usize::from), |classifier| {
        let mut figures = Figures::new(file.path(), name, labels, args.report_every);
        figures.snapshot.keeps = keeper.is_some();
        #[cfg(feature = "verify")]
        if verifier.is_some() {
            classifier.keep_pixels();
        }
        let mut work = Loop {
            args,
            classifier,
            smoothing,
            output: Output::new(out, args.output, args.changes, Backoff::default()),
            live: &live,
            keeper: keeper.as_deref(),
            results,
            rate: Rate::default(),
            pace: Pace::new(args.max_fps),
            figures,
            is_live,
            #[cfg(feature = "verify")]
            verifier,
        };
        let ending = work.frames(&mailbox, stop);
        work.figures.finish(&mailbox);
        ending.map(|ending| (ending, work.figures))
    });
    mailbox.close();
    live.close();
    // a program that was started here ends before this one does
    for how in [End::Asked, End::Forced] {
        let until = Instant::now() + Duration::from_secs(1);
        if let Some(end) = ender.as_ref().filter(|_| !reader.is_finished()) {
            end(how);
            while !reader.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    done?
}

struct Loop<'l, 'c, 't, 'm, 'a, W> {
    args: &'l RunArgs,
    classifier: &'l mut Classifier<'c, 't, 'm, 'a>,
    smoothing: Smoothing,
    output: Output<W>,
    live: &'l Live,
    keeper: Option<&'l Keeper>,
    results: Option<Broker>,
    rate: Rate,
    pace: Pace,
    figures: Figures,
    is_live: bool,
    #[cfg(feature = "verify")]
    verifier: Option<crate::verify::Verifier>,
}

/// What the broker's thread takes.
struct Broker {
    results: watch::Sender<String>,
    every: Duration,
    sent: Option<(Option<String>, Instant)>,
}

impl<W: Write> Loop<'_, '_, '_, '_, '_, W> {
    /// Takes frames until the end.
    fn frames(&mut self, mailbox: &Mailbox, stop: &AtomicBool) -> anyhow::Result<Ending> {
        while !stop.load(Ordering::Relaxed) && self.args.frames.is_none_or(|most| self.figures.snapshot.frames < most) {
            match mailbox.take(PATIENCE) {
                Arrival::Frame(frame) => {
                    let written = self.frame(&frame)?;
                    let old = if self.is_watched() {
                        let caption = self.figures.caption.clone();
                        self.live.put(frame, caption)
                    } else {
                        Some(frame)
                    };
                    old.into_iter().for_each(|frame| mailbox.recycle(frame));
                    if written == Written::Closed {
                        return Ok(Ending::Closed);
                    }
                    self.pace.wait(stop);
                }
                Arrival::Report(Report::Corrupt(what)) => self.figures.corrupt(&what, self.is_live),
                Arrival::Report(Report::Trouble(what)) => self.figures.trouble(what),
                Arrival::Report(Report::Recovered(what)) => self.figures.recovered(&what),
                Arrival::Ended(None) if self.figures.snapshot.frames + self.figures.snapshot.corrupt == 0 => bail!(
                    "{} ended without a single frame: look at what its program says, and whether it writes what --format says",
                    self.figures.snapshot.source
                ),
                Arrival::Ended(None) => break,
                Arrival::Ended(Some(error)) => bail!(error),
                Arrival::Nothing => {}
            }
            self.figures.snapshot.left_out = mailbox.left_out();
            self.publish();
        }
        let is_unreadable = !self.is_live && self.figures.snapshot.corrupt > 0;
        Ok(if is_unreadable { Ending::Unreadable } else { Ending::Done })
    }

    /// Whether the page or a screen is there.
    fn is_watched(&self) -> bool {
        self.args.page().is_some() || self.args.framebuffer.is_some() || self.args.png.is_some()
    }

    /// Classifies a frame and hands out the result.
    fn frame(&mut self, frame: &Frame) -> anyhow::Result<Written> {
        let start = Instant::now();
        let scores = match self.classifier.classify(frame) {
            Ok(scores) => scores.to_vec(),
            Err(error) => {
                self.figures.corrupt(&format!("{}: {error}", frame.name), self.is_live);
                return Ok(Written::Fine);
            }
        };
        let latency = start.elapsed();
        #[cfg(feature = "verify")]
        if let Some(verifier) = &mut self.verifier {
            verifier.check(self.classifier, &scores)?;
            self.figures.snapshot.verified = Some(verifier.found);
        }
        let shown = self.smoothing.push(&scores);
        let labels = &self.figures.snapshot.labels;
        let top = top(&scores, labels, TOP);
        let tenths = self.rate.frame(self.figures.elapsed());
        let (label, permille) = top.first().map_or_else(Default::default, |best| (best.label.clone(), best.permille));
        let outcome = Outcome {
            frame: frame.name.clone(),
            label,
            permille,
            shown: shown.class.and_then(|class| labels.get(class).cloned()),
            shown_permille: shown.permille,
            top,
            latency_ms: (latency.as_secs_f64() * 1e6).round() / 1e3,
            fps: tenths.map(|tenths| f64::from(tenths) / 10.0),
            scores: if self.args.scores { scores } else { Vec::new() },
        };
        let written = self.output.write(&outcome, start);
        if let Written::Said(text) = &written {
            say(text);
        }
        if let Some(broker) = &mut self.results {
            broker.send(&outcome, start);
        }
        self.figures.classified(outcome, latency);
        Ok(written)
    }

    /// Tells the page, from time to time.
    fn publish(&mut self) {
        if self.figures.is_due() {
            if let Some(keeper) = self.keeper {
                self.figures.snapshot.kept = keeper.kept();
            }
            self.live.publish(&self.figures.snapshot);
        }
    }
}

impl Broker {
    fn send(&mut self, outcome: &Outcome, now: Instant) {
        let is_due = self.sent.as_ref().is_none_or(|(shown, at)| *shown != outcome.shown || now - *at >= self.every);
        if is_due && let Ok(json) = serde_json::to_string(outcome) {
            self.results.send_replace(json);
            self.sent = Some((outcome.shown.clone(), now));
        }
    }
}

/// Starts the page and MQTT, as far as they are wanted; returns where results for MQTT go.
fn start_services(args: &RunArgs, live: &Arc<Live>, keeper: Option<&Arc<Keeper>>) -> anyhow::Result<Option<Broker>> {
    let mut services = Services::default();
    if let Some(address) = args.page() {
        let access = Access::new(address.ip(), args.token.as_deref())?;
        let listener = web::listen(address)?;
        let open = |host: &String| format!("http://{host}/{}", access.query());
        let addresses: Vec<_> = web::reachable(listener.local_addr()?).iter().map(open).collect();
        say(format!("the page: {}", addresses.join(" or ")));
        let site = Site { live: Arc::clone(live), keeper: keeper.cloned(), access: Arc::new(access) };
        services.page = Some((listener, site));
    } else if args.keep.is_some() || args.token.is_some() {
        say("note: --keep and --token are for the page: add --web");
    }
    let mut broker = None;
    if let Some((host, port)) = args.broker()? {
        let (results, receiver) = watch::channel(String::new());
        let password = std::env::var("OCELLI_MQTT_PASSWORD").unwrap_or_default();
        let login = args.mqtt_user.clone().map(|user| (user, password));
        let topic = args.mqtt_topic.clone();
        services.broker = Some((mqtt::Options { host, port, topic, login, backoff: Backoff::default() }, receiver));
        broker = Some(Broker { results, every: args.mqtt_every, sent: None });
    }
    services.start()?;
    Ok(broker)
}

/// The screens that are wanted.
fn screens(args: &RunArgs) -> anyhow::Result<Vec<Screen>> {
    let mut screens = Vec::new();
    if let Some(path) = &args.framebuffer {
        let name = path.file_name().with_context(|| format!("--framebuffer {}: no device", path.display()))?;
        let folder = std::path::Path::new("/sys/class/graphics").join(name);
        let geometry = Geometry::read(&folder).with_context(|| {
            format!("--framebuffer {}: cannot read its geometry in {}", path.display(), folder.display())
        })?;
        let overlay = Overlay::new(Box::new(Framebuffer::new(path.clone(), geometry)));
        screens.push(Screen::new(overlay, Duration::ZERO, path.display().to_string()));
    }
    if let Some(path) = &args.png {
        let display = PngFile { path: path.clone(), size: args.png_size, disk: Box::new(RealDisk) };
        let overlay = Overlay::new(Box::new(display));
        screens.push(Screen::new(overlay, Duration::from_secs(1), path.display().to_string()));
    }
    Ok(screens)
}

impl Figures {
    /// Notes a result.
    fn classified(&mut self, outcome: Outcome, latency: Duration) {
        self.caption = Caption::new(&outcome);
        self.note(outcome, latency);
    }
}
