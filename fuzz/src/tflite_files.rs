//! .tflite files: read, simplify, list what is not supported, import, and compile what is quantized.

use crate::compile::{Target, lower::lower, passes, plan::plan};
use crate::interchange::tflite::{ImportOptions, Imported, import, read, report, unsupported};
use crate::quantize::QuantizedNetwork;
use ocelli::ir::Shape;

/// Most layers of a network that is compiled: more than a model file may have is refused anyway.
const MAX_LAYERS: usize = 512;
/// Most values of a tensor of a network that is compiled.
const MAX_VALUES: u32 = 1 << 20;

/// Does with `file` all that the `import` and `compile` commands do, up to the model's bytes, which `load` then must take.
pub fn tflite_read(file: &[u8]) {
    if let Ok(mut model) = read(file) {
        let simple = model.simplify();
        drop(report(&unsupported(&model, |_, _| Ok(()))));
        if simple.is_ok() {
            model.tensors.iter().for_each(|tensor| drop(tensor.real_values()));
        }
    }
    if let Ok(Imported::Quantized(network)) = import(file, &ImportOptions::default()) {
        compile(*network);
    }
}

/// Compiles a network, if it is not too large, and loads the model.
pub fn compile(network: QuantizedNetwork) {
    let large = |shape: Shape| shape.elements().is_none_or(|values| values > MAX_VALUES);
    if network.layers.len() > MAX_LAYERS || network.layers.iter().any(|layer| large(layer.node.output)) {
        return;
    }
    let chosen = passes::Passes::ALL;
    let network = passes::simplify(network, chosen);
    // an error is an answer; a file that is made passes every check of `load`, which `to_bytes` does
    if let Ok(mut planned) = lower(&network, &Target::HOST, chosen.tiles)
        && plan(&mut planned, chosen).is_ok()
    {
        let _ = planned.to_bytes();
    }
}
