//! The numbers in a model file against a fresh compilation of the quantized network that tract judges, and that network's weights
//! against the float weights that they stand for.

use crate::compile::{Options, Target, compile};
use crate::interchange::qdq;
use crate::model::ModelBytes;
use crate::network::{Weights, channel_of};
use crate::quantize::{INT4_MAX, QuantizedNetwork, takes_fitting};
use crate::run::Bundle;
use ocelli::ir::Op;
use ocelli::model::records::{OpRecord, Tensor};
use ocelli::model::{Constants, Model};
use serde::Serialize;

/// What was found about the constants: the first difference in words, `None` where there is none.
#[derive(Clone, Debug, Serialize)]
pub struct ConstantsCheck {
    /// Model file against quantized network.
    pub compiled: Option<String>,
    /// Quantized network against float weights.
    pub quantized: Option<String>,
    /// Whether weights were rounded to fit, up or down.
    pub fitted: bool,
}

pub(super) fn check(bundle: &Bundle) -> anyhow::Result<ConstantsCheck> {
    let labels: Vec<String> = bundle.model.model()?.labels().map(str::to_owned).collect();
    let network = qdq::import(&bundle.network, &bundle.qdq, &labels)?;
    let fresh = ModelBytes::new(&compile(&network, Options::for_target(Target::of_model(&bundle.model.model()?)))?);
    let compiled = (bundle.model.as_slice() != fresh.as_slice()).then(|| -> anyhow::Result<String> {
        let found = first_difference(&bundle.model.model()?, &fresh.model()?);
        Ok(found.unwrap_or_else(|| "the places of tables, rings or accumulators".to_owned()))
    });
    let float = bundle.adjustments.apply(&bundle.network, &bundle.weights)?;
    Ok(ConstantsCheck {
        compiled: compiled.transpose()?,
        quantized: unlike_float(&network, &float, bundle.adjustments.fitted),
        fitted: bundle.adjustments.fitted,
    })
}

/// Half a step, and what float32 adds to it.
const ROUNDING: f64 = 0.5 + 1e-3;

/// The first quantized weight or bias that is not the float one, batch norms and adjustments folded in, rounded: to the nearest step, or a
/// weight up or down where they were fitted.
fn unlike_float(network: &QuantizedNetwork, weights: &Weights, is_fitted: bool) -> Option<String> {
    for layer in &network.layers {
        let Some(quantized) = &layer.weights else { continue };
        let name = &layer.node.name;
        let Some(float) = weights.layer(name) else { return Some(format!("layer '{name}' has no float weights")) };
        if (float.shape, float.bias.len()) != (quantized.shape, quantized.bias.len()) {
            return Some(format!(
                "layer '{name}': {:?} weights, the float network has {:?}",
                quantized.shape, float.shape
            ));
        }
        let input = f64::from(network.params_of(layer.node.inputs[0]).scale);
        let axis = layer.node.op.channel_axis();
        // weights of four bits have a scale that cuts off the largest ones
        let cut = matches!(layer.node.op, Op::Dense { .. }) && quantized.fits_int4();
        let most = if cut { f64::from(INT4_MAX) } else { f64::INFINITY };
        let rounding = if is_fitted && !cut && takes_fitting(&layer.node) { 2.0 * ROUNDING } else { ROUNDING };
        let differs = |steps: f64, q: f64, allowed: f64| (steps - q).abs() > allowed || steps.is_nan();
        for (at, (&q, &real)) in quantized.kernel.iter().zip(&float.kernel).enumerate() {
            let steps = f64::from(real) / f64::from(quantized.scale(channel_of(quantized.shape, axis, at)));
            if differs(steps.clamp(-most, most), f64::from(q), rounding) {
                return Some(format!("layer '{name}', weight {at}: {q}, the float weight is {steps:.2} steps"));
            }
        }
        for (at, (&q, &real)) in quantized.bias.iter().zip(&float.bias).enumerate() {
            let steps = f64::from(real) / (input * f64::from(quantized.scale(at)));
            // a large bias has more digits than float32
            if differs(steps, f64::from(q), ROUNDING + steps.abs() * 1e-6) {
                return Some(format!("layer '{name}', bias {at}: {q}, the float bias is {steps:.2} steps"));
            }
        }
    }
    None
}

fn first_difference(file: &Model<'_>, fresh: &Model<'_>) -> Option<String> {
    let (ours, theirs) = (file.graph(), fresh.graph());
    if ours.ops.len() != theirs.ops.len() {
        return Some(format!("{} operators, the quantized network has {}", ours.ops.len(), theirs.ops.len()));
    }
    if file.input_spec() != fresh.input_spec() {
        return Some("the input's size, colours or normalization".to_owned());
    }
    if let Some(at) = differing(file.pixel_lut(), fresh.pixel_lut()) {
        return Some(format!("pixel table, {at}"));
    }
    if file.names().ne(fresh.names()) {
        return Some("the operators' names".to_owned());
    }
    if file.arena_bytes() != fresh.arena_bytes() {
        return Some(format!("{} bytes of memory, the network needs {}", file.arena_bytes(), fresh.arena_bytes()));
    }
    let tensors = ours.tensors.iter().zip(theirs.tensors).enumerate();
    for (index, (a, b)) in tensors {
        if described(a) != described(b) {
            return Some(format!("tensor {index}: {:?}, the quantized network has {:?}", described(a), described(b)));
        }
    }
    let names: Vec<&str> = file.names().collect();
    for (op, (a, b)) in ours.ops.iter().zip(theirs.ops).enumerate() {
        let name = names.get(op).copied().unwrap_or_default();
        if parameters(a) != parameters(b) {
            return Some(format!("layer '{name}': {}, the quantized network has {}", parameters(a), parameters(b)));
        }
        let (Constants { weights, bias, multipliers, shifts }, reference) = (file.constants(op), fresh.constants(op));
        let tables = [
            ("weights", differing(weights, reference.weights)),
            ("bias", differing(bias, reference.bias)),
            ("multipliers", differing(multipliers, reference.multipliers)),
            ("shifts", differing(shifts, reference.shifts)),
        ];
        if let Some((table, at)) = tables.into_iter().find_map(|(table, at)| Some((table, at?))) {
            return Some(format!("layer '{name}', {table}, {at}"));
        }
    }
    None
}

fn differing<T: PartialEq + std::fmt::Display>(file: &[T], fresh: &[T]) -> Option<String> {
    if file.len() != fresh.len() {
        return Some(format!("{} values, the quantized network has {}", file.len(), fresh.len()));
    }
    let at = file.iter().zip(fresh).position(|(a, b)| a != b)?;
    Some(format!("element {at}: {}, the quantized network has {}", file[at], fresh[at]))
}

/// A tensor but for its place.
fn described(t: &Tensor) -> ([u32; 4], f32, i32) {
    ([t.h, t.w, t.c, t.rows], t.scale, t.zero_point)
}

/// An operator's parameters but for the places of its tables.
fn parameters(op: &OpRecord) -> String {
    let OpRecord { kind, act_min, act_max, inputs, kernel, stride, dilation, pads, .. } = op;
    format!(
        "kind {kind}, inputs {inputs:?}, clamp {act_min}..={act_max}, kernel {kernel:?}, stride {stride:?}, \
         dilation {dilation:?}, pads {pads:?}"
    )
}
