//! The `ocelli` command: from a folder of pictures to a classifier on a chip.
//!
//! Exit codes: 0 done, 1 a check found a difference, 2 bad input or anything else that kept a command from its work, 130 a training
//! that ctrl-C ended, 141 nobody reads what is printed (`ocelli ... | head`).

mod cmd;

use clap::Parser;
use std::process::ExitCode;

/// The exit code of what a shell sees end by a broken pipe: 128 and the number of the signal.
const BROKEN_PIPE: i32 = 141;

/// Ends the process without a word, as other tools end, when what it prints to has been closed: the standard library panics then.
fn end_on_closed_pipe() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(BROKEN_PIPE);
        }
        report(panic);
    }));
}

fn main() -> ExitCode {
    end_on_closed_pipe();
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
