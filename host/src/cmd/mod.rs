//! The command line: one file a verb.

mod boards;
mod check;
mod compile;
mod data;
mod demo;
mod eval;
mod explain;
mod export;
mod filter;
mod finetune;
mod flags;
mod flash;
mod import;
mod models;
mod predict;
mod push;
mod qat;
mod quantize;
mod report;
mod run;
mod runs;
mod search;
mod summary;
mod tag;
mod train;
mod ui;
mod worker;

use clap::{Parser, Subcommand};

/// How a command ended when nothing kept it from its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All well.
    Done,
    /// A check found a difference.
    Differs,
    /// Ctrl-C ended it; it can be gone on with.
    Interrupted,
}

/// Image classifiers for small devices: train, quantize, compile, and prove that the chip computes what was trained.
///
/// Start with `ocelli demo`. Then, on your own pictures (a folder of class folders):
///
///   ocelli train --data photos/ --network net.toml --out runs/mine
///   ocelli compile runs/mine
///   ocelli check runs/mine photos/
///   ocelli predict --model runs/mine cat.jpg
///   ocelli boards
///   ocelli flash --board pico2 --model runs/mine
///
/// Exit codes: 0 done, 1 a check found a difference, 2 bad input or another failure, 130 ended by ctrl-C, 141 nobody reads the output.
#[derive(Debug, Parser)]
#[command(name = "ocelli", version, verbatim_doc_comment, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Args),
    Train(train::Args),
    Finetune(finetune::Args),
    Import(import::Args),
    Export(export::Args),
    Data(data::Args),
    Models(models::Args),
    Compile(compile::Args),
    Check(check::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Tag(tag::Args),
    Search(search::Args),
    Report(report::Args),
    Runs(runs::Args),
    Worker(worker::Args),
    Explain(explain::Args),
    Filter(filter::Args),
    Summary(summary::Args),
    Boards(boards::Args),
    Flash(flash::Args),
    Run(run::Args),
    Push(push::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// When something kept it from its work; the error says what, where and what to do.
    pub fn run(self) -> anyhow::Result<Verdict> {
        if matches!(self.verb, Verb::Demo(_) | Verb::Train(_) | Verb::Finetune(_)) {
            ocelli_host::memory::keep();
        }
        match self.verb {
            Verb::Demo(args) => demo::run(&args),
            Verb::Train(args) => train::run(&args),
            Verb::Data(args) => data::run(&args),
            Verb::Models(args) => models::run(&args),
            Verb::Finetune(args) => finetune::run(&args),
            Verb::Import(args) => import::run(&args),
            Verb::Export(args) => export::run(&args),
            Verb::Compile(args) => compile::run(&args),
            Verb::Check(args) => check::run(&args),
            Verb::Eval(args) => eval::run(&args),
            Verb::Predict(args) => predict::run(&args),
            Verb::Tag(args) => tag::run(&args),
            Verb::Search(args) => search::run(&args),
            Verb::Report(args) => report::run(&args),
            Verb::Runs(args) => runs::run(&args),
            Verb::Worker(args) => worker::run(&args),
            Verb::Explain(args) => explain::run(&args),
            Verb::Filter(args) => filter::run(&args),
            Verb::Summary(args) => summary::run(&args),
            Verb::Boards(args) => boards::run(&args),
            Verb::Flash(args) => flash::run(&args),
            Verb::Run(args) => run::run(&args),
            Verb::Push(args) => push::run(&args),
        }
    }
}
