//! What cannot be imported, all of it at once.

use std::fmt::Write as _;
use tract_onnx::pb::ModelProto;

/// Nodes that a report names for one reason; the rest is counted.
const NAMED_NODES: usize = 4;
/// Longest name in a report.
const NAME_CHARS: usize = 60;

/// A node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What stands in the way, as the end of a sentence.
    pub reason: String,
}

/// One line a reason: operator, how many nodes, which.
pub fn report(problems: &[Problem]) -> String {
    let mut groups: Vec<(&Problem, Vec<&str>)> = Vec::new();
    for problem in problems {
        let same = |other: &Problem| other.operator == problem.operator && other.reason == problem.reason;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, nodes)) => nodes.push(&problem.node),
            None => groups.push((problem, vec![&problem.node])),
        }
    }
    let mut text = String::new();
    for (problem, nodes) in groups {
        let named: Vec<String> = nodes.iter().take(NAMED_NODES).map(|name| format!("'{}'", short(name))).collect();
        let more = nodes.len() - named.len();
        let others = if more == 0 { String::new() } else { format!(" and {more} more") };
        let _ = writeln!(text, "- {} {} ({}{others})", problem.operator, problem.reason, named.join(", "));
    }
    text
}

fn short(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// What to do about it: whether tract runs the file as it is.
pub fn advice(model: &ModelProto) -> &'static str {
    if tract_runs(model) {
        "tract, a runtime for ONNX, runs this file as it is, in float on a computer; it cannot be trained, quantized or compiled here"
    } else {
        "tract, the runtime that would be the way around, does not run this file either"
    }
}

/// Whether tract takes the model for a batch of one.
fn tract_runs(model: &ModelProto) -> bool {
    let mut model = model.clone();
    for input in model.graph.iter_mut().flat_map(|graph| &mut graph.input) {
        super::graph::set_batch_of_one(input);
    }
    crate::check::tract::is_runnable(&model)
}
