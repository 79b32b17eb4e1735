//! `cargo xtask bench train`: images a second of training, ours beside Burn's own operators, Keras and PyTorch.

use crate::bench_host::{cpu, target_folder};
use crate::process::{cargo, root};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

/// Arguments of `bench train`.
#[derive(Args)]
pub struct Train {
    /// A network of the zoo; can be repeated [default: cifar-cnn, resnet8, mobilenet-v1-0.25].
    #[arg(long, value_name = "NAME")]
    network: Vec<String>,
    /// Images a step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Threads of every program.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds; in each every program runs once, one after the other.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a program's turn, about.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// The Python that has Keras (pip install tensorflow-cpu).
    #[arg(long, default_value = "python3")]
    keras: PathBuf,
    /// The Python that has PyTorch (pip install torch, or Debian's python3-torch).
    #[arg(long, default_value = "python3")]
    torch: PathBuf,
}

const NETWORKS: [&str; 3] = ["cifar-cnn", "resnet8", "mobilenet-v1-0.25"];

/// Measures and prints the table.
pub fn run(args: &Train) -> Result<ExitCode> {
    ensure!(
        args.rounds > 0 && args.batch > 0 && args.threads > 0,
        "--rounds, --batch and --threads must be at least 1"
    );
    let bench = build()?;
    let networks: Vec<&str> = match args.network.as_slice() {
        [] => NETWORKS.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    println!(
        "{}, {} threads, batches of {}: images a second of training (forward, backward, Adam's step)\n",
        cpu(),
        args.threads,
        args.batch
    );
    for network in networks {
        print!("{}", table(network, &measure(args, &bench, network)?));
    }
    println!(
        "\nmedians of {} rounds, in which the programs take turns; a CPU second counts every thread's",
        args.rounds
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds the bench and gives its path.
fn build() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["bench", "--package", "ocelli-host", "--bench", "train", "--no-run", "--message-format=json"]);
    let output = build.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{build:?} failed");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut found = messages.filter(|message| message["target"]["name"] == "train");
    let path = found.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.with_context(|| format!("cargo built no bench \"train\" in {}", target_folder().display()))
}

/// What one program did.
struct Row {
    name: &'static str,
    /// Images a second and a CPU second, by round; or why there are none.
    rates: Result<Vec<[f64; 2]>, String>,
}

fn measure(args: &Train, bench: &Path, network: &str) -> Result<Vec<Row>> {
    let batch = args.batch.to_string();
    let threads = args.threads.to_string();
    let ours = |operators: &str| {
        let mut command = Command::new(bench);
        command.args([network, &batch, operators]).env("RAYON_NUM_THREADS", &threads);
        command
    };
    let folder = tempfile::tempdir()?;
    let net = folder.path().join("net.toml");
    let text = Command::new(bench).args([network, "toml"]).output().context("cannot run the bench")?.stdout;
    fs::write(&net, text).with_context(|| net.display().to_string())?;
    let python = |framework: &str, python: &Path| {
        let mut command = Command::new(python);
        command.arg(root().join("tools/bench_train.py")).arg(framework).arg(&net).args([&batch, &threads]);
        command.env("OMP_NUM_THREADS", &threads);
        command
    };
    let programs = [
        ("ours", ours("ours")),
        ("Burn's operators", ours("burn")),
        ("Keras", python("keras", &args.keras)),
        ("PyTorch", python("torch", &args.torch)),
    ];
    let mut rows = Vec::new();
    let mut running = Vec::new();
    for (name, command) in programs {
        let started = Program::start(command, args.seconds);
        rows.push(Row { name, rates: started.as_ref().map(|_| Vec::new()).map_err(|error| format!("{error:#}")) });
        running.push(started.ok());
    }
    for _ in 0..args.rounds {
        for (row, program) in rows.iter_mut().zip(&mut running) {
            if let (Ok(rates), Some(program)) = (&mut row.rates, program) {
                rates.push(program.turn(args.batch).with_context(|| row.name)?);
            }
        }
    }
    Ok(rows)
}

/// A program that waits for its turn.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Steps of a turn.
    steps: usize,
}

impl Program {
    /// Starts it and finds how many steps take `seconds`.
    fn start(mut command: Command, seconds: f64) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut program = Self { child, output, steps: 3 };
        if program.line()? != "ready" {
            bail!("{}", program.last_words());
        }
        program.ask()?; // what is made once
        let time = program.ask()?;
        program.steps = ((seconds / time * 3.0) as usize).max(1);
        program.ask()?;
        Ok(program)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Ends the program; gives the last line of its errors.
    fn last_words(&mut self) -> String {
        let _ = self.child.kill();
        let errors = self.child.stderr.take().map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok));
        errors.into_iter().flatten().filter(|line| !line.trim().is_empty()).last().unwrap_or_default()
    }

    /// Runs the steps; gives the seconds.
    fn ask(&mut self) -> Result<f64> {
        let input = self.child.stdin.as_mut().context("no input")?;
        writeln!(input, "{}", self.steps)?;
        input.flush()?;
        let line = self.line()?;
        line.parse().map_err(|_| anyhow::anyhow!("it ended: {}", self.last_words()))
    }

    /// Images a second, and a CPU second.
    fn turn(&mut self, batch: usize) -> Result<[f64; 2]> {
        let before = self.cpu_seconds();
        let seconds = self.ask()?;
        let images = (self.steps * batch) as f64;
        Ok([images / seconds, images / (self.cpu_seconds() - before)])
    }

    /// User and system time of all threads so far; not a number where the system does not tell.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |i: usize| fields.get(i).and_then(|field| field.parse().ok()).unwrap_or(f64::NAN);
        (ticks(11) + ticks(12)) / 100.0 // ticks of 10 ms on every Linux
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The table: each rate, and next to it that as a share of Keras', the median of the rounds' shares.
fn table(network: &str, rows: &[Row]) -> String {
    let keras = rows.iter().find(|row| row.name == "Keras").and_then(|row| row.rates.as_ref().ok());
    let mut text =
        format!("{network:<20} {:>12} {:>12} {:>12} {:>12}\n", "images/s", "of Keras'", "a CPU s", "of Keras'");
    for Row { name, rates } in rows {
        let rates = match rates {
            Ok(rates) => rates,
            Err(why) => {
                text += &format!("  {name:<18} not run ({why})\n");
                continue;
            }
        };
        text += &format!("  {name:<18}");
        for which in 0..2 {
            let share = |keras: &Vec<[f64; 2]>| {
                median(rates.iter().zip(keras).map(|(rate, keras)| rate[which] / keras[which]).collect())
            };
            let share = keras.map_or_else(|| "-".to_owned(), |keras| format!("{:.2}", share(keras)));
            text += &format!(" {:>12.0} {share:>12}", median(rates.iter().map(|rate| rate[which]).collect()));
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_each_rate_to_keras_round_by_round() {
        let rows = [
            Row { name: "ours", rates: Ok(vec![[100.0, 50.0], [300.0, 60.0], [90.0, 40.0]]) },
            Row { name: "Keras", rates: Ok(vec![[200.0, 100.0], [200.0, 100.0], [100.0, 80.0]]) },
            Row { name: "PyTorch", rates: Err("it is missing".to_owned()) },
        ];
        let text = table("n", &rows);
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).unwrap().to_owned();
        assert_eq!(line("ours").split_whitespace().collect::<Vec<_>>(), ["ours", "100", "0.90", "50", "0.50"]);
        assert_eq!(line("PyTorch").trim(), "PyTorch            not run (it is missing)");
    }
}
