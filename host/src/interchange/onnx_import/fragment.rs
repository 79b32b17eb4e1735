//! A few nodes that need not be a classifier, run by the float path of training: how operators are tested one by one.

use super::build::{SUPPORTED, Value, operator};
use super::constant::{self, Constant, Data, elements};
use super::graph::{self, Given, Lowered};
use super::view::{Axis, View};
use crate::network::{Layer, LayerOptions, Weights};
use crate::train::FragmentInput;
use anyhow::{Context, ensure};
use ocelli::ir::Shape;
use std::collections::HashMap;
use tract_onnx::pb::{ModelProto, TensorProto};

/// Which inputs of a graph are computed with, and which are known while importing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// All but the first.
    Others,
    /// None that holds floats.
    Integers,
    /// All.
    Everything,
}

/// Which dimension of an input is which axis of ours: a node alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Batch, channels, rows and columns.
    ChannelsFirst,
    /// Batch, rows, columns and channels; of two dimensions channels and batch.
    ChannelsLast,
    /// Three dimensions are channels, rows and columns of one picture.
    OnePicture,
}

impl Layout {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::ChannelsFirst, Self::ChannelsLast, Self::OnePicture];

    fn axes(self, rank: usize) -> &'static [Axis] {
        use Axis::{C, H, N, W};
        match (self, rank) {
            (_, 0) => &[],
            (_, 1) => &[C],
            (Self::ChannelsLast, 2) => &[C, N],
            (_, 2) => &[N, C],
            (Self::ChannelsFirst, 3) => &[N, C, W],
            (Self::ChannelsLast, 3) => &[N, W, C],
            (Self::OnePicture, 3) => &[C, H, W],
            (Self::ChannelsLast, _) => &[N, H, W, C],
            _ => &[N, C, H, W],
        }
    }
}

/// The value of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Its elements in memory order.
    pub values: Vec<f64>,
}

/// The first operator that is not read at all.
#[must_use]
pub fn unknown_operator(model: &ModelProto) -> Option<String> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    nodes.map(operator).find(|name| !SUPPORTED.contains(&name.as_str()))
}

/// A tensor of a test as floats or integers.
///
/// # Errors
/// When it is of another type, or broken.
pub fn output(tensor: &TensorProto) -> anyhow::Result<Output> {
    let constant = constant::read(tensor, None)?;
    Ok(Output { dims: constant.dims.clone(), values: values(&constant) })
}

fn values(constant: &Constant) -> Vec<f64> {
    match &constant.data {
        Data::Floats(values) => values.iter().map(|&v| v.into()).collect(),
        Data::Ints(values, _) => values.iter().map(|&v| v as f64).collect(),
    }
}

/// Nodes that were read, and what they are to be run on.
pub struct Fragment {
    lowered: Lowered,
    inputs: Vec<(View, Vec<f32>)>,
}

/// Reads the nodes of a model for inputs of these values.
///
/// # Errors
/// When they are not supported.
pub fn read(model: &ModelProto, tensors: &[TensorProto], known: Known, layout: Layout) -> anyhow::Result<Fragment> {
    let graph = graph::graph(model)?;
    let named = graph::inputs(graph);
    let (mut given, mut inputs, mut constants) = (Vec::new(), Vec::new(), HashMap::new());
    for (index, info) in named.iter().enumerate() {
        let Some(tensor) = tensors.get(index) else { continue };
        if let Ok((kind, _)) = graph::dimensions(info) {
            ensure!(
                kind == tensor.data_type,
                "its input is {} in the model and {} in the file of its values",
                constant::type_name(kind),
                constant::type_name(tensor.data_type)
            );
        }
        let constant = constant::read(tensor, None)?;
        let is_known = match known {
            Known::Others => index > 0,
            Known::Integers => matches!(constant.data, Data::Ints(..)),
            Known::Everything => true,
        };
        if is_known {
            constants.insert(info.name.clone(), constant);
            continue;
        }
        let view = view_of(&constant.dims, given.len(), layout)?;
        given.push(Given {
            name: info.name.clone(),
            dims: view.dims.clone(),
            shape: view.shape,
            batch: view.batch,
            order: view.order.clone(),
        });
        inputs.push((view, constant.real().context("the input")?.to_vec()));
    }
    let batch = inputs.first().map_or(1, |(view, _)| view.batch);
    ensure!(inputs.iter().all(|(view, _)| view.batch == batch), "its inputs have several batches");
    let lowered = graph::lower(model, &given, constants, None, true)?;
    Ok(Fragment { lowered, inputs })
}

/// An input as a batch of pictures, of lines, or of flat tensors.
fn view_of(dims: &[usize], tensor: usize, layout: Layout) -> anyhow::Result<View> {
    let rank = dims.len();
    ensure!(rank <= 4, "takes an input of {rank} dimensions: pictures of 4 and lines of 3 are supported");
    ensure!(elements(dims).is_some_and(|count| count > 0), "takes an input of no values");
    let axes = layout.axes(rank);
    let size = |axis: Axis| axes.iter().position(|&other| other == axis).map_or(1, |dim| dims[dim]);
    let side = |axis: Axis| u32::try_from(size(axis)).context("an input that is too large");
    let all = [Axis::N, Axis::C, Axis::H, Axis::W];
    let order = axes.iter().copied().chain(all.into_iter().filter(|axis| !axes.contains(axis))).collect();
    let shape = Shape::new(side(Axis::H)?, side(Axis::W)?, side(Axis::C)?);
    Ok(View { tensor, shape, batch: size(Axis::N), dims: dims.to_vec(), order, sole: true, flattened_by: None })
}

impl Fragment {
    /// Whether all of it was computed while importing.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        matches!(self.lowered.output, Value::Constant(_))
    }

    /// Runs the nodes; `run` is told the inputs, the batch, the layers, each with the tensors that it reads and its output's shape, and
    /// their weights.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn run(
        &self,
        run: impl FnOnce(&[FragmentInput], usize, &[(Layer, Vec<usize>, Shape)], &Weights) -> anyhow::Result<Vec<f32>>,
    ) -> anyhow::Result<Output> {
        let view = match &self.lowered.output {
            Value::Constant(constant) => {
                return Ok(Output { dims: constant.dims.clone(), values: values(constant) });
            }
            Value::Computed(view) => view,
            Value::Lost => anyhow::bail!("the output is lost"),
        };
        let batch = view.batch;
        const ALL: [Axis; 4] = [Axis::N, Axis::H, Axis::W, Axis::C];
        let inputs: Vec<FragmentInput> = self
            .inputs
            .iter()
            .map(|(view, values)| FragmentInput {
                shape: view.shape,
                values: view.places(&ALL).into_iter().map(|place| values[place]).collect(),
            })
            .collect();
        let mut weights = Weights::default();
        let mut layers = Vec::new();
        for (index, draft) in self.lowered.layers.iter().enumerate() {
            let name = index.to_string();
            if let Some(numbers) = &draft.weights {
                weights.insert(&name, numbers.clone());
            }
            if let Some(norm) = &draft.norm {
                weights.insert_norm(&name, norm.clone());
            }
            let layer = Layer { name, kind: draft.kind, inputs: Vec::new(), options: LayerOptions::default() };
            layers.push((layer, draft.inputs.clone(), draft.output));
        }
        let ours = match inputs.get(view.tensor) {
            Some(input) => input.values.clone(),
            None => {
                ensure!(view.tensor + 1 == inputs.len() + layers.len(), "the output is not the last layer's");
                run(&inputs, batch, &layers, &weights)?
            }
        };
        let mut values = vec![0.0; ours.len()];
        for (place, value) in view.places(&ALL).into_iter().zip(ours) {
            values[place] = value.into();
        }
        Ok(Output { dims: view.dims.clone(), values })
    }
}
