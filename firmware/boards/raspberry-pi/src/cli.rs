//! The command line.

use crate::frame::{RawFormat, RawLayout};
use crate::output::Format;
use crate::smoothing::Kind;
use crate::source::Camera;
use crate::source::folder::FolderCamera;
use crate::source::pipe::{CommandCamera, Group, PathCamera, StdinCamera};
use crate::source::stream::StreamFormat;
use crate::source::v4l2::{CameraFormat, V4l2Camera};
use anyhow::{Context, bail, ensure};
use clap::{Args, Parser, ValueEnum};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Classify what a camera sees, live, with a model made by `ocelli`
///
/// Frames come from standard input (the default), from a program that is started here, a V4L2 camera, a pipe or a folder of pictures.
///
///   rpicam-vid -t 0 -n --codec yuv420 --width 640 --height 480 -o - | ocelli-pi --model cats --format yuv420 --size 640x480
///   ocelli-pi --model cats --format mjpeg --web -- rpicam-vid -t 0 -n --codec mjpeg -o -
///   ocelli-pi --model cats --camera /dev/video0 --web --keep photos
///   ffmpeg -i film.mp4 -f rawvideo -pix_fmt rgb24 -s 320x240 - | ocelli-pi --model cats --format rgb24 --size 320x240 --every-frame
///   ocelli-pi --model cats --images photos
///
/// A camera that is unplugged, a pipe that stalls, a damaged frame or a full disk is said on standard error; it is tried again, at first
/// after half a second, then after twice as long each time, up to half a minute. Exit codes: 0 done, 2 bad input or another failure (also
/// when a picture of a folder could not be read), 141 nobody reads the output.
#[derive(Debug, Parser)]
#[command(
    name = "ocelli-pi",
    version,
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// Another task than to classify.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// What to classify, and where results go.
    #[command(flatten)]
    pub run: Option<RunArgs>,
}

/// Another task than to classify.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Measure models: frames a second and processor time a frame, beside tract on the same pictures.
    Bench(crate::bench::BenchArgs),
}

/// What a stream consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamKind {
    /// JPEGs, one after another, as `rpicam-vid --codec mjpeg` writes them.
    Mjpeg,
    /// Planes of luma and chroma, as `rpicam-vid --codec yuv420` writes them: rows padded to 64 bytes unless --stride says otherwise.
    Yuv420,
    /// Red, green, blue, as `ffmpeg -pix_fmt rgb24` writes them.
    Rgb24,
    /// `Y0 U Y1 V`.
    Yuyv,
    /// One byte of luma.
    Gray,
}

/// Classify frames.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A model.ocelli, or a run folder. Compiled with `ocelli compile --board host` it runs on all cores.
    #[arg(long, short)]
    pub model: PathBuf,

    /// A folder of pictures (or one picture), in the order of their names.
    #[arg(long, value_name = "DIR", help_heading = "Frames", conflicts_with_all = ["camera", "pipe", "command"])]
    pub images: Option<PathBuf>,
    /// Begin the folder again at its end.
    #[arg(long = "loop", requires = "images", help_heading = "Frames")]
    pub repeats: bool,
    /// A V4L2 camera, such as /dev/video0. (Raspberry Pi's own camera modules are read through rpicam-vid.)
    #[arg(long, value_name = "DEVICE", help_heading = "Frames", conflicts_with_all = ["pipe", "command"])]
    pub camera: Option<PathBuf>,
    /// The camera's layout; without it YUYV is tried, then MJPEG.
    #[arg(long, requires = "camera", help_heading = "Frames")]
    pub camera_format: Option<CameraFormat>,
    /// A named pipe or a file instead of standard input.
    #[arg(long, value_name = "PATH", help_heading = "Frames", conflicts_with = "command")]
    pub pipe: Option<PathBuf>,
    /// What a stream consists of.
    #[arg(long, value_enum, default_value = "mjpeg", help_heading = "Frames")]
    pub format: StreamKind,
    /// Size of a raw stream's frames, or the one that is asked of a V4L2 camera.
    #[arg(long, value_name = "WxH", default_value = "640x480", value_parser = size, help_heading = "Frames")]
    pub size: [u32; 2],
    /// Bytes from a row of a raw frame to the next; yuv420: width rounded up to 64, others: no padding.
    #[arg(long, value_name = "BYTES", help_heading = "Frames")]
    pub stride: Option<usize>,
    /// Seconds without a frame after which a source counts as stalled.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Frames")]
    pub stall: Duration,
    /// End after so many frames.
    #[arg(long, value_name = "N", help_heading = "Frames")]
    pub frames: Option<u64>,
    /// Let a stream wait instead of leaving frames out when they come too fast: for films, not for cameras.
    #[arg(long, help_heading = "Frames")]
    pub every_frame: bool,
    /// Classify at most so many frames a second, to save power.
    #[arg(long, value_name = "FPS", value_parser = rate, help_heading = "Frames")]
    pub max_fps: Option<f64>,
    /// A program that writes frames to its standard output; it is started again when it ends or stalls.
    #[arg(last = true, value_name = "PROGRAM", help_heading = "Frames")]
    pub command: Vec<String>,

    /// Threads that share a frame; without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64), help_heading = "Results")]
    pub threads: Option<u8>,
    /// How results are smoothed over frames; without it, an average, but none for the pictures of a folder (unless --loop).
    #[arg(long, value_enum, help_heading = "Results")]
    pub smooth: Option<Kind>,
    /// Below this share in percent the answer is "unknown".
    #[arg(long, value_name = "PERCENT", default_value = "40", value_parser = clap::value_parser!(u8).range(0..=100), help_heading = "Results")]
    pub unknown_below: u8,
    /// What is written to standard output.
    #[arg(long, value_enum, default_value = "lines", help_heading = "Results")]
    pub output: Format,
    /// Write only when the shown label changes.
    #[arg(long, help_heading = "Results")]
    pub changes: bool,
    /// Write the int8 scores too.
    #[arg(long, help_heading = "Results")]
    pub scores: bool,
    /// Run tract beside it, on the run folder's model.qdq.onnx, and count where the best class differs.
    #[cfg(feature = "verify")]
    #[arg(long, help_heading = "Results")]
    pub verify: bool,
    /// With --verify: only every N-th frame.
    #[cfg(feature = "verify")]
    #[arg(long, value_name = "N", default_value_t = 1, requires = "verify", help_heading = "Results")]
    pub verify_every: u64,
    /// Print frames, frames a second and memory to standard error every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Results")]
    pub report_every: Option<Duration>,

    /// Serve a page: live view, labels, latencies.
    #[arg(long, help_heading = "Page")]
    pub web: bool,
    /// Where the page is served; implies --web. Everything but this computer itself needs a token.
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Page")]
    pub listen: Option<SocketAddr>,
    /// The token; without it one is made and printed. At least 16 letters, digits, '-' or '_'.
    #[arg(long, env = "OCELLI_TOKEN", hide_env_values = true, help_heading = "Page")]
    pub token: Option<String>,
    /// Let the page keep frames under a label, as DIR/LABEL/TIME.jpg: a dataset for the next training.
    #[arg(long, value_name = "DIR", help_heading = "Page")]
    pub keep: Option<PathBuf>,

    /// Send results to an MQTT broker (no TLS: for a network that is yours).
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "MQTT")]
    pub mqtt: Option<String>,
    /// Topic of the results, as JSON; TOPIC/status tells whether this program runs.
    #[arg(long, value_name = "TOPIC", default_value = "ocelli", help_heading = "MQTT")]
    pub mqtt_topic: String,
    /// User name; the password is taken from the environment's OCELLI_MQTT_PASSWORD.
    #[arg(long, value_name = "NAME", help_heading = "MQTT")]
    pub mqtt_user: Option<String>,
    /// Send at least every so many seconds; a new label is sent at once.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "MQTT")]
    pub mqtt_every: Duration,

    /// Show picture, label, bar and frame rate on a framebuffer, such as /dev/fb0.
    #[arg(long, value_name = "DEVICE", help_heading = "Screen")]
    pub framebuffer: Option<PathBuf>,
    /// The same as a PNG file, replaced once a second.
    #[arg(long, value_name = "FILE", help_heading = "Screen")]
    pub png: Option<PathBuf>,
    /// Size of the PNG file.
    #[arg(long, value_name = "WxH", default_value = "480x320", value_parser = size, help_heading = "Screen")]
    pub png_size: [u32; 2],
    /// Most pictures a second on the page's live view and the framebuffer.
    #[arg(long, value_name = "FPS", default_value = "15", value_parser = rate, help_heading = "Screen")]
    pub view_fps: f64,
}

impl RunArgs {
    /// The camera that was asked for.
    ///
    /// # Errors
    /// When the size of a raw stream cannot be, or standard input is a keyboard.
    pub fn source(&self) -> anyhow::Result<Box<dyn Camera>> {
        if let Some(path) = &self.images {
            return Ok(Box::new(FolderCamera { path: path.clone(), repeats: self.repeats }));
        }
        let patience = self.stall;
        if let Some(path) = &self.camera {
            ensure!(
                cfg!(target_pointer_width = "64"),
                "V4L2 cameras need the 64-bit program; with this one let a program read the camera: ocelli-pi ... --format mjpeg -- \
                 ffmpeg -f v4l2 -input_format mjpeg -i {} -c copy -f mjpeg -",
                path.display()
            );
            return Ok(Box::new(V4l2Camera::new(path.clone(), self.camera_format, self.size, patience)));
        }
        let format = self.stream_format()?;
        if let Some(path) = &self.pipe {
            return Ok(Box::new(PathCamera { path: path.clone(), format, patience }));
        }
        if !self.command.is_empty() {
            return Ok(Box::new(CommandCamera {
                command: self.command.clone(),
                format,
                patience,
                running: Group::default(),
            }));
        }
        if std::io::stdin().is_terminal() {
            bail!(
                "no frames: pipe a camera's program into this one (rpicam-vid ... | ocelli-pi ...), or give --images DIR, \
                 --camera DEVICE, --pipe PATH, or a program after --"
            );
        }
        Ok(Box::new(StdinCamera { format, patience }))
    }

    fn stream_format(&self) -> anyhow::Result<StreamFormat> {
        let raw = match self.format {
            StreamKind::Mjpeg => return Ok(StreamFormat::Mjpeg),
            StreamKind::Yuv420 => RawFormat::Yuv420,
            StreamKind::Rgb24 => RawFormat::Rgb24,
            StreamKind::Yuyv => RawFormat::Yuyv,
            StreamKind::Gray => RawFormat::Gray,
        };
        Ok(StreamFormat::Raw(RawLayout::new(raw, self.size, self.stride).map_err(anyhow::Error::msg)?))
    }

    /// How results are smoothed: pictures of a folder that are looked at once are no film.
    #[must_use]
    pub fn smoothing(&self) -> Kind {
        let usual = if self.images.is_some() && !self.repeats { Kind::None } else { Kind::Average };
        self.smooth.unwrap_or(usual)
    }

    /// Where the page is to be served, if at all.
    #[must_use]
    pub fn page(&self) -> Option<SocketAddr> {
        self.listen.or_else(|| self.web.then(|| SocketAddr::from(([127, 0, 0, 1], 8080))))
    }

    /// Host and port of the broker, if one was given.
    ///
    /// # Errors
    /// When there is no host, or the port is no number.
    pub fn broker(&self) -> anyhow::Result<Option<(String, u16)>> {
        let Some(given) = &self.mqtt else { return Ok(None) };
        // an IPv6 address has colons of its own: [::1]:1883
        let (host, port) = match given.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().with_context(|| format!("--mqtt {given}: '{port}' is no port"))?)
            }
            _ => (given.as_str(), 1883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(!host.trim().is_empty(), "--mqtt '{given}': give the broker as HOST or HOST:PORT");
        Ok(Some((host.to_owned(), port)))
    }
}

fn size(text: &str) -> Result<[u32; 2], String> {
    let wrong = || format!("'{text}' is no size: give WIDTHxHEIGHT, such as 640x480");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| (1..=16_384).contains(side)).ok_or_else(wrong);
    Ok([side(width)?, side(height)?])
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: give seconds above 0, such as 2.5");
    let seconds = text.parse::<f64>().ok().filter(|&seconds| seconds > 0.0 && seconds < 1e6).ok_or_else(wrong)?;
    Ok(Duration::from_secs_f64(seconds))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.01..=1e6).contains(rate));
    rate.ok_or_else(|| format!("'{text}' is no rate: give frames a second, such as 10"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(std::iter::once("ocelli-pi").chain(line.split_whitespace())).map_err(|e| e.to_string())
    }

    fn run(line: &str) -> RunArgs {
        parsed(line).unwrap().run.unwrap()
    }

    #[test]
    fn the_examples_of_the_help_are_taken() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
        let examples: Vec<_> = help.lines().filter_map(|line| line.split_once("ocelli-pi --model")).collect();
        assert!(examples.len() >= 5, "{help}");
        for (_, rest) in examples {
            run(&format!("--model{rest}"));
        }
        assert!(matches!(parsed("bench --model a --model b").unwrap().task, Some(Task::Bench(_))));
    }

    #[test]
    fn sources_are_chosen_by_their_options() {
        let name = |line: &str| run(line).source().unwrap().name();
        assert_eq!(name("-m x --images photos"), "photos");
        assert_eq!(name("-m x --camera /dev/video9"), "/dev/video9");
        assert_eq!(name("-m x --pipe p --format rgb24 --size 3x4"), "p");
        assert_eq!(name("-m x -- rpicam-vid -t 0 -o -"), "rpicam-vid");
        assert!(run("-m x --pipe p --format yuv420 --size 3x4").source().is_err());
    }

    #[test]
    fn what_does_not_go_together_or_cannot_be_is_refused() {
        for (line, what) in [
            ("", "--model"),
            ("-m x --images a --camera b", "cannot be used with"),
            ("-m x --loop", "--images"),
            ("-m x --size 640", "no size"),
            ("-m x --size 0x1", "no size"),
            ("-m x --stall 0", "no time"),
            ("-m x --max-fps=-1", "no rate"),
            ("-m x --unknown-below 101", "0..=100"),
            ("-m x --listen nowhere", "--listen"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn addresses_of_pages_and_brokers() {
        assert_eq!(run("-m x").page(), None);
        assert_eq!(run("-m x --web").page().unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(run("-m x --listen 0.0.0.0:80").page().unwrap().to_string(), "0.0.0.0:80");
        let broker = |given: &str| run(&format!("-m x --mqtt {given}")).broker();
        for (given, host, port) in
            [("a", "a", 1883), ("a.b:99", "a.b", 99), ("[::1]:7", "::1", 7), ("::1", "::1", 1883)]
        {
            assert_eq!(broker(given).unwrap(), Some((host.to_owned(), port)));
        }
        assert!(broker("a:b").is_err());
        assert!(broker(":1883").is_err() && broker("[]:1883").is_err());
        let empty = Cli::try_parse_from(["ocelli-pi", "-m", "x", "--mqtt", ""]).unwrap().run.unwrap();
        assert!(empty.broker().unwrap_err().to_string().contains("HOST or HOST:PORT"));
    }

    #[test]
    fn pictures_that_are_looked_at_once_are_not_smoothed_unless_asked() {
        for (line, expected) in [
            ("-m x", Kind::Average),
            ("-m x --images a", Kind::None),
            ("-m x --images a --loop", Kind::Average),
            ("-m x --images a --smooth majority", Kind::Majority),
            ("-m x --smooth none", Kind::None),
        ] {
            assert_eq!(run(line).smoothing(), expected, "{line}");
        }
    }
}
