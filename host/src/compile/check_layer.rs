//! A layer by itself against all that a model file asks of it, so that an importer can name every layer that cannot be compiled at once.

use super::lower::Lowering;
use super::passes::Passes;
use super::plan::plan;
use super::tile::Target;
use crate::network::Node;
use crate::quantize::{QuantParams, QuantizedLayer};
use anyhow::{Context, anyhow, bail};
use ocelli::ir::{Op, Shape};
use ocelli::model::LoadError;
use ocelli::model::records::{OpRecord, kind};
use ocelli::model::write::OpEntry;

/// Any core: what is checked here depends on none.
const TARGET: Target = Target { lane_bytes: 4, scratch_bytes: 0, blocks: false, cores: 1 };

/// Checks a layer whose inputs have the quantization `inputs`: number of weights, scales and biases, factors in range, equal scales
/// where the operator copies values, sums that fit 32 bits. What depends on the whole network (its memory, its labels) is not looked at.
///
/// # Errors
/// When no model file can hold the layer; the error does not name it.
pub fn check_layer(layer: &QuantizedLayer, inputs: &[QuantParams]) -> anyhow::Result<()> {
    let node = &layer.node;
    let &first = inputs.first().context("no inputs")?;
    let mut lowering = Lowering::new(node.input(), first, None);
    // the same tensor has the same place here; other inputs are made from the first one
    let mut places = Vec::new();
    for (index, input) in node.inputs.iter().enumerate() {
        let known = node.inputs.iter().take(index).position(|earlier| earlier == input);
        let place = match known {
            Some(earlier) => places.get(earlier).copied().context("no place")?,
            None if index == 0 => 0,
            None => stand_in(&mut lowering, node, index, inputs)?,
        };
        places.push(place);
    }
    let alone = QuantizedLayer { node: Node { inputs: places, ..node.clone() }, ..layer.clone() };
    lowering.layer(&alone)?;
    if node.op == Op::Concat {
        return Ok(()); // moves bytes, and what must agree is made to: its inputs' shapes cannot be made from one another
    }
    let mut file = lowering.finish(&TARGET)?;
    plan(&mut file, Passes::NONE)?;
    match file.to_bytes() {
        Ok(_) => Ok(()),
        Err(LoadError::Op { what, .. } | LoadError::Field { what }) => bail!("{}", in_words(what)),
        Err(LoadError::Overflow { .. }) => bail!("the sum of its products could overflow 32 bits"),
        Err(error) => Err(anyhow!("{error}")),
    }
}

/// What a rule of the model file means for a layer, where the rule names fields of the file.
fn in_words(what: &str) -> &str {
    match what {
        "multipliers or shifts" => "its scales are too far apart",
        "tensor shape" => "one of its tensors is too large",
        "scale and zero_point must be those of the input" => "its scale and zero point must be those of its input",
        other => other,
    }
}

/// A tensor in place of input `index`: of its shape where an operator can make that from the first input, of its quantization.
fn stand_in(lowering: &mut Lowering<'_>, node: &Node, index: usize, inputs: &[QuantParams]) -> anyhow::Result<usize> {
    let (shape, params) = (node.input_shapes.get(index).context("no shape")?, inputs.get(index).context("no scale")?);
    let entry = |record: OpRecord, weights| OpEntry {
        name: String::new(),
        record,
        weights,
        bias: Vec::new(),
        multipliers: Vec::new(),
    };
    let mut made = lowering.add(entry(OpRecord::new(kind::LOOKUP, 0), vec![0; 256]), node.input(), *params);
    if *shape == Shape::new(1, 1, node.input().c) && *shape != node.input() {
        let record = OpRecord::new(kind::GLOBAL_MAX_POOL, u16::try_from(made)?);
        made = lowering.add(entry(record, Vec::new()), *shape, *params);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::QuantizedWeights;
    use ocelli::ir::{Activation, Padding, Window};

    const PARAMS: QuantParams = QuantParams { scale: 0.5, zero_point: 0 };

    fn layer(op: Op, input_shapes: Vec<Shape>, output: QuantParams) -> QuantizedLayer {
        let shape = op.infer_shape(&input_shapes).unwrap();
        let inputs = (0..input_shapes.len()).collect();
        let node = Node { name: "layer".to_owned(), op, inputs, input_shapes, output: shape };
        QuantizedLayer { node, output, weights: None, unsigned: false }
    }

    fn refused(layer: &QuantizedLayer, inputs: &[QuantParams]) -> String {
        check_layer(layer, inputs).unwrap_err().to_string()
    }

    #[test]
    fn a_pool_that_changes_the_scale_is_refused() {
        let op = Op::MaxPool2d { window: Window::new([2, 2], [2, 2], Padding::Valid) };
        let pool = |output| layer(op, vec![Shape::new(4, 4, 2)], output);
        assert_eq!(check_layer(&pool(PARAMS), &[PARAMS]).map_err(|e| e.to_string()), Ok(()));
        let error = refused(&pool(QuantParams { scale: 0.25, zero_point: 0 }), &[PARAMS]);
        assert!(error.contains("must be those of its input"), "{error}");
    }

    #[test]
    fn two_inputs_may_differ_in_shape_and_scale_but_not_be_one_tensor() {
        let other = QuantParams { scale: 0.1, zero_point: 7 };
        for second in [Shape::new(4, 4, 2), Shape::new(1, 1, 2)] {
            let add = layer(Op::Add { activation: Activation::Relu }, vec![Shape::new(4, 4, 2), second], PARAMS);
            assert_eq!(check_layer(&add, &[PARAMS, other]).map_err(|e| e.to_string()), Ok(()));
        }
        let mut concat = layer(Op::Concat, vec![Shape::new(4, 4, 2); 2], PARAMS);
        assert!(check_layer(&concat, &[PARAMS, other]).is_ok());
        concat.node.inputs = vec![3, 3];
        assert!(refused(&concat, &[PARAMS, PARAMS]).contains("one tensor twice"));
    }

    #[test]
    fn a_layer_must_have_all_its_numbers_and_no_more() {
        let window = Window::new([1, 1], [1, 1], Padding::Valid);
        let op = Op::Conv2d { c_out: 3, window, groups: 1, activation: Activation::None };
        let mut conv = layer(op, vec![Shape::new(2, 2, 1)], PARAMS);
        let whole = QuantizedWeights {
            shape: [3, 1, 1, 1],
            kernel: vec![1, 2, 3],
            zero_point: 0,
            scales: vec![0.1, 0.2, 0.3],
            bias: vec![0; 3],
        };
        conv.weights = Some(whole.clone());
        assert_eq!(check_layer(&conv, &[PARAMS]).map_err(|e| e.to_string()), Ok(()));
        for (change, expected) in [
            ((|w: &mut QuantizedWeights| w.kernel.truncate(2)) as fn(&mut QuantizedWeights), "has 2 weights"),
            (|w| w.kernel.push(4), "has 4 weights"),
            (|w| w.scales.truncate(2), "has 2 weight scales for 3"),
            (|w| w.scales.clear(), "has 0 weight scales"),
            (|w| w.bias.truncate(1), "has 1 biases for 3"),
            (|w| w.shape = [2, 1, 1, 1], "has weights of the shape [2, 1, 1, 1]"),
        ] {
            let mut weights = whole.clone();
            change(&mut weights);
            conv.weights = Some(weights);
            let error = refused(&conv, &[PARAMS]);
            assert!(error.contains(expected), "{error}");
        }
        conv.weights = None;
        assert!(check_layer(&conv, &[PARAMS]).is_err());
    }

    #[test]
    fn factors_out_of_range_are_refused() {
        let add = layer(
            Op::Add { activation: Activation::None },
            vec![Shape::new(1, 1, 2); 2],
            QuantParams { scale: 1e-9, zero_point: 0 },
        );
        assert_eq!(refused(&add, &[PARAMS, PARAMS]), "its scales are too far apart");
        let softmax = layer(Op::Softmax, vec![Shape::new(1, 1, 2)], PARAMS);
        assert!(refused(&softmax, &[PARAMS]).contains("1/256"));
    }
}
