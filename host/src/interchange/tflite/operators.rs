//! Operators: kinds, tensors, options, and the order in which they run.

use super::error::{TfliteError, short_name};
use super::flatbuffer::{Reader, Table};
use super::opcodes::{OpCode, code};
use super::options::Options;
use super::options_read::{self, OptionsError};
use super::schema::{model, operator, operator_code, subgraph};
use super::tensors::MAX_RANK;
use super::{Data, TfliteOperator, TfliteTensor};
use std::borrow::Cow;

/// Bytes that an operator's input takes in memory above those in the file.
const INDEX_COST: usize = 12;

/// Reads the operators of `graph`, each of which must find its inputs made. Tensors of no elements that nobody makes become constants.
pub(super) fn read(
    reader: &Reader<'_>,
    root: Table<'_, '_>,
    graph: Table<'_, '_>,
    tensors: &mut [TfliteTensor<'_>],
    inputs: &[usize],
) -> Result<Vec<TfliteOperator>, TfliteError> {
    let codes = codes(root)?;
    let mut made = made_at_start(tensors, inputs)?;
    let mut operators = Vec::new();
    for (index, table) in graph.tables(subgraph::OPERATORS)?.all()?.enumerate() {
        let table = table?;
        let opcode = table.number(operator::OPCODE_INDEX, 0_u32)?;
        let listed = usize::try_from(opcode).ok().and_then(|opcode| codes.get(opcode));
        let Some((code, version)) = listed else {
            let reason = format!("operator {index} is of kind {opcode}, but the file lists {} kinds", codes.len());
            return Err(TfliteError::Model(reason));
        };
        if let OpCode::Custom(name) = code {
            reader.charge(name.len())?; // it is copied
        }
        let indices = table.numbers::<i32>(operator::INPUTS)?.unwrap_or_default();
        let outputs = table.numbers::<i32>(operator::OUTPUTS)?.unwrap_or_default();

        // the name is that of the first output: known before anything is said about the operator
        let first = outputs.first().and_then(|&first| tensors.get(usize::try_from(first).ok()?));
        let unnamed = || format!("{}_{index}", code.to_string().to_lowercase());
        let name = first.map_or(String::new(), |tensor| short_name(&tensor.name));
        let name = if name.is_empty() { unnamed() } else { name };
        let wrong = |reason| TfliteError::Operator { index, code: code.to_string(), name: name.clone(), reason };

        reader.charge(indices.len().saturating_mul(INDEX_COST))?;
        let mut read_inputs = Vec::with_capacity(indices.len());
        for input in indices {
            read_inputs.push(if input == -1 { None } else { Some(at(input, tensors.len()).map_err(wrong)?) });
        }
        for &input in read_inputs.iter().flatten() {
            let tensor = &mut tensors[input];
            if !made[input] && tensor.elements() == 0 && tensor.kind.bits().is_some() {
                tensor.data = Data::Constant(Cow::Borrowed(&[]));
                made[input] = true;
            }
            if !made[input] {
                return Err(wrong(format!("reads tensor {input} '{}' before it is made", short_name(&tensor.name))));
            }
        }
        let mut read_outputs = Vec::with_capacity(outputs.len());
        for output in outputs {
            let output = at(output, tensors.len()).map_err(wrong)?;
            if made[output] {
                let name = short_name(&tensors[output].name);
                return Err(wrong(format!(
                    "writes tensor {output} '{name}', which is an input, a constant or written already"
                )));
            }
            made[output] = true;
            read_outputs.push(output);
        }
        let options = options_read::read(table, code).map_err(|error| match error {
            OptionsError::Broken(error) => error,
            OptionsError::Senseless(reason) => wrong(reason),
        })?;
        // each tensor is written once, so its name is copied once
        let name = read_outputs.first().map(|&first| tensors[first].name.clone());
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(unnamed);
        let (code, version) = (code.clone(), *version);
        let read = TfliteOperator { name, code, version, inputs: read_inputs, outputs: read_outputs, options };
        check_reshape(&read, tensors).map_err(wrong)?;
        operators.push(read);
    }
    Ok(operators)
}

/// Kinds of operators with their versions.
fn codes(root: Table<'_, '_>) -> Result<Vec<(OpCode, i32)>, TfliteError> {
    let read = |table: Result<Table<'_, '_>, TfliteError>| {
        let table = table?;
        let old = i32::from(table.number(operator_code::DEPRECATED_BUILTIN_CODE, 0_i8)?);
        let code = table.number(operator_code::BUILTIN_CODE, 0_i32)?.max(old);
        let code = match code {
            code::CUSTOM => OpCode::Custom(table.text(operator_code::CUSTOM_CODE)?),
            code => OpCode::Builtin(code),
        };
        Ok((code, table.number(operator_code::VERSION, 1_i32)?))
    };
    root.tables(model::OPERATOR_CODES)?.all()?.map(read).collect()
}

/// Which tensors exist before the first operator runs.
fn made_at_start(tensors: &[TfliteTensor<'_>], inputs: &[usize]) -> Result<Vec<bool>, TfliteError> {
    let exists = |tensor: &TfliteTensor<'_>| tensor.data != Data::Computed || tensor.is_variable;
    let mut made: Vec<bool> = tensors.iter().map(exists).collect();
    for &input in inputs {
        if made[input] {
            let name = short_name(&tensors[input].name);
            let reason = "is an input of the network, yet it is listed twice or has a value in the file".to_owned();
            return Err(TfliteError::Tensor { index: input, name, reason });
        }
        made[input] = true;
    }
    Ok(made)
}

fn at(index: i32, tensors: usize) -> Result<usize, String> {
    let valid = usize::try_from(index).ok().filter(|&index| index < tensors);
    valid.ok_or_else(|| format!("names tensor {index}, but there are {tensors}"))
}

/// Holds the constant that tells a RESHAPE its shape to the shape of its output. -1 stands for what is left.
fn check_reshape(operator: &TfliteOperator, tensors: &[TfliteTensor<'_>]) -> Result<(), String> {
    let (Options::Reshape { .. }, Some(&Some(shape)), Some(&output)) =
        (&operator.options, operator.inputs.get(1), operator.outputs.first())
    else {
        return Ok(());
    };
    // the length first: a list that long is not worth looking at
    let length = tensors[shape].elements();
    if length > MAX_RANK {
        return Err(format!("is told to make {length} dimensions, at most {MAX_RANK} are read"));
    }
    let Some(wanted) = tensors[shape].integers() else { return Ok(()) };
    let output = &tensors[output];
    let agrees = |(&wanted, &size): (&i64, &usize)| wanted == -1 || usize::try_from(wanted) == Ok(size);
    let open = !output.unknown_axes.is_empty();
    if open || (wanted.len() == output.shape.len() && wanted.iter().zip(&output.shape).all(agrees)) {
        return Ok(());
    }
    Err(format!("is told to make the shape {wanted:?}, but its output has the shape {:?}", output.shape))
}

/// Refuses outputs of the network that nobody makes.
pub(super) fn check_outputs(
    tensors: &[TfliteTensor<'_>],
    operators: &[TfliteOperator],
    inputs: &[usize],
    outputs: &[usize],
) -> Result<(), TfliteError> {
    let mut made = vec![false; tensors.len()];
    let written = operators.iter().flat_map(|operator| &operator.outputs);
    written.chain(inputs).for_each(|&index| made[index] = true);
    match outputs.iter().find(|&&output| !made[output] && tensors[output].data == Data::Computed) {
        None => Ok(()),
        Some(&index) => {
            let reason = "is an output of the network, but nothing makes it".to_owned();
            Err(TfliteError::Tensor { index, name: short_name(&tensors[index].name), reason })
        }
    }
}
