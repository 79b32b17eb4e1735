//! The program `ocelli-pi`.

use clap::Parser;
use ocelli_pi::cli::{Cli, Task};
use ocelli_pi::run::Ending;
use ocelli_pi::{bench, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (&cli.task, &cli.run) {
        (Some(Task::Bench(args)), _) => bench::run(args).map(|()| Ending::Done),
        (None, Some(args)) => run::run(args),
        (None, None) => Err(anyhow::anyhow!("give a model with --model; see ocelli-pi --help")),
    };
    match done {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Unreadable) => ExitCode::from(2),
        Ok(Ending::Closed) => ExitCode::from(141),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
