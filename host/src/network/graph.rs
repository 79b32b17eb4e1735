//! Which layer reads which, by number in place of name.

use super::{INPUT, Layer, LayerKind, Network, NetworkError};
use ocelli::ir::{Shape, ShapeError};
use std::collections::BTreeMap;

/// A layer with what it reads and makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Wired<'n> {
    /// The layer.
    pub layer: &'n Layer,
    /// Tensors it reads: 0 is the network's input, `i + 1` the output of layer `i`.
    pub inputs: Vec<usize>,
    /// Their shapes.
    pub input_shapes: Vec<Shape>,
    /// Shape of its output.
    pub output: Shape,
}

impl Wired<'_> {
    /// Shape of the first input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input_shapes.first().copied().unwrap_or(Shape::new(0, 0, 0))
    }
}

impl Network {
    /// Every layer as it is trained, with what it reads.
    ///
    /// # Errors
    /// When a layer reads what is not there or cannot take its inputs; the error names layer and rule.
    pub fn wired(&self) -> Result<Vec<Wired<'_>>, NetworkError> {
        let mut tensors = BTreeMap::from([(INPUT, 0)]);
        let mut shapes = vec![self.input.shape];
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let inputs: Vec<usize> = if layer.inputs.is_empty() {
                vec![index]
            } else {
                let find = |name: &String| tensors.get(name.as_str()).copied().ok_or_else(|| self.unknown(layer, name));
                layer.inputs.iter().map(find).collect::<Result<_, _>>()?
            };
            let input_shapes: Vec<Shape> = inputs.iter().map(|&tensor| shapes[tensor]).collect();
            let output = match (&layer.kind, input_shapes.as_slice()) {
                (LayerKind::Conv3d(conv), &[input]) => {
                    conv.infer_shape(input).map_err(|source| source.of(index + 1, &layer.name, input))?
                }
                (kind, inputs) => infer(kind, inputs).map_err(|source| NetworkError::Shape {
                    index: index + 1,
                    layer: layer.name.clone(),
                    inputs: input_shapes.clone(),
                    source,
                })?,
            };
            tensors.insert(&layer.name, index + 1);
            shapes.push(output);
            layers.push(Wired { layer, inputs, input_shapes, output });
        }
        Ok(layers)
    }

    /// The error for a layer that reads `name`, which does not stand before it.
    fn unknown(&self, layer: &Layer, name: &str) -> NetworkError {
        let later = self.layers.iter().any(|other| other.name == name);
        let message = if later {
            format!(
                "layer '{}' reads '{name}', which does not stand before it: a layer reads only layers before it, there are no cycles",
                layer.name
            )
        } else {
            format!("layer '{}' reads '{name}', but there is no layer of that name", layer.name)
        };
        NetworkError::Invalid { name: self.name.clone(), message }
    }

    /// Refuses a layer whose output nobody reads, unless it is the last.
    pub(super) fn check_readers(&self, layers: &[Wired<'_>]) -> Result<(), NetworkError> {
        let is_read = |tensor: usize| layers.iter().any(|layer| layer.inputs.contains(&tensor));
        let last = layers.len();
        let Some(unread) = (1..last).find(|&tensor| !is_read(tensor)) else { return Ok(()) };
        let message = format!(
            "nothing reads the output of layer '{}': name it among the inputs of a later layer, or remove it",
            layers[unread - 1].layer.name
        );
        Err(NetworkError::Invalid { name: self.name.clone(), message })
    }
}

fn infer(kind: &LayerKind, inputs: &[Shape]) -> Result<Shape, ShapeError> {
    match (kind, inputs) {
        (LayerKind::Op(op), _) => op.infer_shape(inputs),
        (LayerKind::Dropout { .. } | LayerKind::BatchNorm { .. }, &[input]) => Ok(input),
        (LayerKind::Dropout { .. } | LayerKind::BatchNorm { .. } | LayerKind::Conv3d(_), _) => {
            Err(ShapeError::Inputs { takes: "one input", found: u8::try_from(inputs.len()).unwrap_or(u8::MAX) })
        }
    }
}
