//! .onnx files: import, and compile what is quantized.

use crate::interchange::onnx_import::import;
use crate::interchange::tflite::{ImportOptions, Imported};
use crate::tflite_files::compile;
use prost::Message;
use tract_onnx::pb::{GraphProto, ModelProto};

/// Numbers that make a reader go wrong more often than others do.
const CORNERS: [i64; 14] = [0, 1, 2, 3, 7, 255, 1000, 65536, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN, -1];

/// Does with `file` all that the `import` and `compile` commands do. Whether it is imported.
pub fn onnx_read(file: &[u8]) -> bool {
    let sized = ImportOptions { size: Some([6, 6]), ..ImportOptions::default() };
    // the size of an input may be left open
    let import = import(file, None, &ImportOptions::default()).or_else(|_| import(file, None, &sized));
    match import.map(|import| import.imported) {
        Ok(Imported::Quantized(network)) => compile(*network),
        Ok(Imported::Float(parts)) => assert!(parts.0.validate().is_ok()),
        Err(_) => return false,
    }
    true
}

/// Changes one to four numbers or names of a file that decodes, as somebody would who knows the format.
pub fn change(file: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(file).ok()?;
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below.max(1)
    };
    let graph = model.graph.as_mut()?;
    for _ in 0..=random(4) {
        change_one(graph, &mut random);
    }
    Some(model.encode_to_vec())
}

fn change_one(graph: &mut GraphProto, random: &mut impl FnMut(usize) -> usize) {
    let other = |old: i64, random: &mut dyn FnMut(usize) -> usize| match random(3) {
        0 => CORNERS[random(CORNERS.len())],
        1 => old.wrapping_add(random(5) as i64 - 2),
        _ => old.wrapping_neg(),
    };
    let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
    let kind = graph.node.get(random(nodes)).map(|node| node.op_type.clone());
    let input = graph.node.get(random(nodes)).and_then(|node| node.output.first().cloned());
    match random(4) {
        0 => {
            let Some(tensor) = graph.initializer.get_mut(random(tensors)) else { return };
            let (dims, bytes) = (tensor.dims.len(), tensor.raw_data.len());
            if random(2) == 0 {
                tensor.dims.get_mut(random(dims)).into_iter().for_each(|dim| *dim = other(*dim, random));
            } else {
                tensor.raw_data.get_mut(random(bytes)).into_iter().for_each(|byte| *byte = random(256) as u8);
            }
        }
        1 => {
            let Some(node) = graph.node.get_mut(random(nodes)) else { return };
            let count = node.attribute.len();
            let Some(attribute) = node.attribute.get_mut(random(count)) else { return };
            attribute.i = other(attribute.i, random);
            attribute.f *= [0.0, -1.0, f32::NAN, 1e30][random(4)];
            let count = attribute.ints.len();
            attribute.ints.get_mut(random(count)).into_iter().for_each(|int| *int = other(*int, random));
        }
        2 => {
            let Some(node) = graph.node.get_mut(random(nodes)) else { return };
            node.op_type = kind.unwrap_or_default();
        }
        _ => {
            let Some(node) = graph.node.get_mut(random(nodes)) else { return };
            let count = node.input.len();
            let Some(name) = node.input.get_mut(random(count)) else { return };
            *name = input.unwrap_or_default();
        }
    }
}
