//! From a quantized network to a model file: fold, tile, plan rings and arena, lay out.

pub mod blocks;
mod check_layer;
mod lower;
mod nibbles;
pub mod pack;
pub mod passes;
mod plan;
pub mod tile;
pub mod unary;

pub use check_layer::check_layer;
pub use lower::{lower, multiplier};
pub use nibbles::{pack_nibbles, unpacked};
pub use passes::Passes;
pub use plan::{plan, ring_rows, with_heights, work_in_place};
pub use tile::Target;

use crate::network::{Network, Weights};
use crate::quantize::{Calibration, QuantizedNetwork, Range, quantize};
use anyhow::ensure;
use ocelli::model::records::{MAX_OPS, OpRecord, flag, kind};
use ocelli::model::write::ModelFile;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;

/// What to compile for, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The core.
    pub target: Target,
    /// The passes.
    pub passes: Passes,
}

impl Options {
    /// All passes, for a core.
    #[must_use]
    pub const fn for_target(target: Target) -> Self {
        Self { target, passes: Passes::ALL }
    }
}

/// Compiles a quantized network to the bytes of a model file.
///
/// # Errors
/// When an operator's numbers are outside what the format can hold; the error names it.
pub fn compile(network: &QuantizedNetwork, options: Options) -> anyhow::Result<Vec<u8>> {
    assemble(&planned(network, options)?.file)
}

/// The bytes of a planned file.
///
/// # Errors
/// When an operator's numbers are outside what the format can hold; the error names it.
pub fn assemble(file: &ModelFile) -> anyhow::Result<Vec<u8>> {
    file.to_bytes().map_err(|error| anyhow::anyhow!("the compiled network is not valid: {}", name_op(file, error)))
}

/// A network as records with everything in its place.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The records.
    pub file: ModelFile,
    /// Bytes below which no packing of these rings can go.
    pub lower_bound: u32,
}

/// The records of a quantized network, everything in its place in the arena.
///
/// # Errors
/// When an operator's numbers are outside what the format can hold; the error names it.
pub fn planned(network: &QuantizedNetwork, options: Options) -> anyhow::Result<Planned> {
    // the passes look at all pairs of layers; what they fold is less than half
    ensure!(
        network.layers.len() <= 2 * MAX_OPS,
        "the network has {} layers: more than a model file may have ({MAX_OPS} operators)",
        network.layers.len()
    );
    let network = passes::simplify(network.clone(), options.passes);
    let mut file = lower(&network, &options.target, options.passes.tiles)?;
    if options.passes.nibbles {
        pack_nibbles(&mut file)?;
    }
    let Options { target, passes } = options;
    let packing = if target.blocks && passes.tiles && passes.gates {
        blocks::plan_layers(&mut file, passes, &target)?
    } else {
        plan(&mut file, passes)?
    };
    Ok(Planned { file, lower_bound: packing.lower_bound })
}

/// What a layer costs on a chip.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerCost {
    /// Its constants.
    pub flash_bytes: u64,
    /// The ring that holds its output, and accumulators.
    pub ram_bytes: u64,
}

/// What a network costs on a chip, by layer.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// By layer name; a layer that is folded away is missing.
    pub layers: BTreeMap<String, LayerCost>,
    /// The ring that holds the input rows.
    pub input_ram_bytes: u64,
    /// The model file.
    pub flash_bytes: u64,
    /// All working memory.
    pub ram_bytes: u64,
}

/// Compiles a network with placeholder weights and reports its memory.
///
/// # Errors
/// When the network's shapes do not fit, or the labels are not one a class.
pub fn measure(network: &Network, labels: &[String], target: Target) -> anyhow::Result<Cost> {
    let weights = Weights::initial(network, &mut ChaCha8Rng::seed_from_u64(0))?;
    let calibration = Calibration::constant(network, Range { min: -1.0, max: 1.0 })?;
    let file = planned(&quantize(network, &weights, &calibration, labels)?, Options::for_target(target))?.file;
    Ok(cost(&file, file.to_bytes()?.len()))
}

/// The memory of a planned file of `flash_bytes`.
#[must_use]
pub fn cost(file: &ModelFile, flash_bytes: usize) -> Cost {
    let ring = |index: usize| -> u64 {
        file.tensors.get(index).map_or(0, |t| u64::from(t.rows) * u64::from(t.w) * u64::from(t.c))
    };
    let layers = file.ops.iter().enumerate().map(|(index, op)| {
        let constants = op.weights.len() + 4 * op.bias.len() + 5 * op.multipliers.len() + size_of::<OpRecord>();
        let accumulates = matches!(op.record.kind, kind::DENSE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL);
        let accumulators = if accumulates { file.tensors.get(index + 1).map_or(0, |t| 4 * u64::from(t.c)) } else { 0 };
        let ring = if op.record.has(flag::IN_PLACE) { 0 } else { ring(index + 1) };
        (op.name.clone(), LayerCost { flash_bytes: constants as u64, ram_bytes: ring + accumulators })
    });
    Cost {
        layers: layers.collect(),
        input_ram_bytes: ring(0),
        flash_bytes: flash_bytes as u64,
        ram_bytes: u64::from(file.arena_bytes),
    }
}

/// A load error with the layer's name where it has an operator's index.
fn name_op(file: &ModelFile, error: ocelli::model::LoadError) -> String {
    use ocelli::model::LoadError as E;
    let index = match error {
        E::Op { op, .. } | E::Overflow { op } => Some(usize::from(op)),
        _ => None,
    };
    match index.and_then(|i| file.ops.get(i)) {
        Some(op) => format!("layer '{}': {error}", op.name),
        None => error.to_string(),
    }
}
