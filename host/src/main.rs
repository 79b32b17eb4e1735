//! The `ocelli` command: from a folder of pictures to a classifier on a chip.
//!
//! Exit codes: 0 done, 1 a check found a difference, 2 bad input or anything else that kept a command from its work, 130 a training
//! that ctrl-C ended.

mod cmd;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cmd::Cli::parse(); // ends with code 2 on a wrong command line
    match cli.run() {
        Ok(cmd::Verdict::Done) => ExitCode::SUCCESS,
        Ok(cmd::Verdict::Differs) => ExitCode::from(1),
        Ok(cmd::Verdict::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
