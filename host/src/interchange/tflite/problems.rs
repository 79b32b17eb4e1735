//! What a consumer cannot take, all of it at once: a user mends a network in one round, not in one round a layer.

use super::error::short_name;
use super::opcodes::{OpCode, code};
use super::options::Options;
use super::schema::TensorType;
use super::{Data, TfliteModel, TfliteOperator, TfliteTensor};
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// Layers that a report names for one reason; the rest is counted.
const NAMED_LAYERS: usize = 4;

/// Something that stands in the way of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The layer's name, shortened.
    pub layer: String,
    /// The operator's kind.
    pub code: OpCode,
    /// What the consumer cannot take.
    pub reason: String,
    /// What would help.
    pub help: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer '{}' ({}): {}. {}", self.layer, self.code, self.reason, self.help)
    }
}

const FULL_INTEGER: &str = "Convert it with full integer quantization (a representative dataset, and the inference types int8), \
     or without any optimization and let Ocelli quantize it.";
const FIXED_SIZE: &str = "Convert it with an input of fixed height and width.";
const FIXED_BATCH: &str = "If it is part of a dilated convolution, convert the network with a fixed batch of 1 \
     (`Input(..., batch_size=1)`): the convolution then stays in one piece.";
const FLOAT32: &str = "Convert it with its activations in float32, or with full integer quantization.";
const OWN_WEIGHTS: &str = "Convert it without sparse, 4-bit or external weights.";
const ONE_PASS: &str = "Export the part of the network that goes from picture to answer without conditions and loops.";
const BUILTIN_ONLY: &str =
    "Convert it with TFLITE_BUILTINS only, so that the network uses TensorFlow Lite's own operators.";
const CHANGE_LAYER: &str =
    "Replace the layer by one that Ocelli has (the README lists them) and convert the network again.";

/// Lists all that stands in the way of an import: what the format allows and no consumer here takes (tensors of mixed kinds, float16,
/// constants in a form that is not read, control flow), and what `supported` refuses, with its reason. In the order of the file; an
/// operator may have a problem of both sorts. Call it after [`TfliteModel::simplify`], which mends some of these.
pub fn unsupported(
    model: &TfliteModel<'_>,
    supported: impl Fn(&TfliteModel<'_>, &TfliteOperator) -> Result<(), String>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for operator in &model.operators {
        let refused = supported(model, operator).err().map(|reason| (reason, help(&operator.code)));
        for (reason, help) in format_problem(model, operator).into_iter().chain(refused) {
            problems.push(Problem { layer: short_name(&operator.name), code: operator.code.clone(), reason, help });
        }
    }
    problems
}

/// One paragraph a reason: how many layers, which, and what would help. Empty when there is no problem.
#[must_use]
pub fn report(problems: &[Problem]) -> String {
    let mut groups: Vec<(&Problem, Vec<&str>)> = Vec::new();
    let mut known = HashMap::new(); // where the group of a reason is
    for problem in problems {
        let group = *known.entry((&problem.code, &problem.reason, problem.help)).or_insert(groups.len());
        if group == groups.len() {
            groups.push((problem, Vec::new()));
        }
        groups[group].1.push(&problem.layer);
    }
    let mut text = String::new();
    for (problem, layers) in groups {
        let named = layers.iter().take(NAMED_LAYERS).map(|layer| format!("'{layer}'")).collect::<Vec<_>>().join(", ");
        let more = match layers.len().saturating_sub(NAMED_LAYERS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        // writing to a String cannot fail
        let _ = writeln!(text, "{} {}. {}\n  in {named}{more}", problem.code, problem.reason, problem.help);
    }
    text
}

/// Help for an operator that a consumer does not have.
fn help(code: &OpCode) -> &'static str {
    match code {
        OpCode::Custom(_) => BUILTIN_ONLY,
        OpCode::Builtin(code::SPACE_TO_BATCH_ND | code::BATCH_TO_SPACE_ND) => FIXED_BATCH,
        OpCode::Builtin(_) => CHANGE_LAYER,
    }
}

/// What no consumer here takes, whatever the operator.
fn format_problem(model: &TfliteModel<'_>, operator: &TfliteOperator) -> Option<(String, &'static str)> {
    if operator.code.is_control_flow() {
        return Some(("runs another part of the file (control flow)".to_owned(), ONE_PASS));
    }
    if operator.options == Options::Other {
        return None; // what it reads and writes does not matter
    }
    if is_hybrid(model, operator) {
        let reason = "is hybrid: its weights are integers, its activations floats (dynamic range quantization)";
        return Some((reason.to_owned(), FULL_INTEGER));
    }
    if let Options::FullyConnected { shuffled: true, .. } = operator.options {
        return Some(("has its weights in the shuffled order of an old kernel".to_owned(), OWN_WEIGHTS));
    }
    let inputs = operator.inputs.iter().flatten();
    let mut tensors = inputs.chain(&operator.outputs).map(|&index| &model.tensors[index]);
    tensors.clone().find_map(tensor_problem).or_else(|| {
        let small = |kind| matches!(kind, TensorType::Int8 | TensorType::Uint8 | TensorType::Int16);
        let bare = tensors.find(|tensor| small(tensor.kind) && tensor.quantization.is_none());
        let bare = bare.filter(|_| !moves_only(&operator.options))?;
        Some((format!("computes with {} that have no scale", bare.kind), FULL_INTEGER))
    })
}

/// Whether an operator takes elements as they are, so that what they stand for does not matter.
fn moves_only(options: &Options) -> bool {
    matches!(
        options,
        Options::Cast
            | Options::Shape
            | Options::Reshape { .. }
            | Options::Squeeze { .. }
            | Options::ExpandDims
            | Options::Transpose
            | Options::Slice
            | Options::StridedSlice { .. }
            | Options::Split { .. }
            | Options::SplitV { .. }
            | Options::Pack { .. }
            | Options::Unpack { .. }
    )
}

/// Whether an operator multiplies floats by integer weights.
fn is_hybrid(model: &TfliteModel<'_>, operator: &TfliteOperator) -> bool {
    let multiplies = matches!(
        operator.code,
        OpCode::Builtin(code::CONV_2D | code::DEPTHWISE_CONV_2D | code::FULLY_CONNECTED | code::BATCH_MATMUL)
    );
    let kinds = (model.input(operator, 0).map(|t| t.kind), model.input(operator, 1).map(|t| t.kind));
    multiplies && matches!(kinds, (Some(TensorType::Float32), Some(weights)) if weights.integer_range().is_some())
}

fn tensor_problem(tensor: &TfliteTensor<'_>) -> Option<(String, &'static str)> {
    if let Data::Unread(form) = tensor.data {
        return Some((format!("has a constant that {form}"), OWN_WEIGHTS));
    }
    if tensor.is_variable {
        return Some(("keeps a state from run to run".to_owned(), ONE_PASS));
    }
    if !tensor.unknown_axes.is_empty() {
        return Some((format!("has a tensor whose dimensions {:?} are left open", tensor.unknown_axes), FIXED_SIZE));
    }
    match tensor.kind {
        TensorType::Float32 | TensorType::Int8 | TensorType::Uint8 | TensorType::Int16 | TensorType::Int32 => None,
        TensorType::Int64 | TensorType::Bool => None,
        TensorType::Int2 | TensorType::Int4 | TensorType::Uint4 => {
            Some((format!("has a tensor of {}", tensor.kind), OWN_WEIGHTS))
        }
        kind => Some((format!("has a tensor of {kind}"), FLOAT32)),
    }
}
