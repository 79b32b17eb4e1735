//! tract beside our runtime: the quantized network of the run folder, run as it is written.

use crate::model::{Classifier, ModelFile};
use crate::result::best;
use anyhow::{Context, anyhow, ensure};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// The quantized network's name in a run folder.
pub const QUANTIZED: &str = "model.qdq.onnx";
/// The float network's.
pub const FLOAT: &str = "model.onnx";

/// How tract runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// As the file says. tract 0.23.9 would optimize what lies between a dequantization and a quantization to a table of single values, a
    /// softmax too.
    AsWritten,
    /// Optimized: for float networks.
    Optimized,
}

/// A network that tract runs, one picture at a time.
pub struct Judge {
    plan: Arc<TypedRunnableModel>,
    /// `[1, c, h, w]`.
    dims: Vec<usize>,
}

impl Judge {
    /// Prepares a network for the input of a model.
    ///
    /// # Errors
    /// When the file cannot be read, or tract cannot run it.
    pub fn open(path: &Path, shape: ocelli::ir::Shape, plan: Plan) -> anyhow::Result<Self> {
        ensure!(
            path.exists(),
            "there is no {}: tract needs the run folder's ONNX files beside the model",
            path.display()
        );
        let dims = [1, shape.c, shape.h, shape.w].map(|side| usize::try_from(side).unwrap_or(0)).to_vec();
        let prepare = || -> TractResult<Arc<TypedRunnableModel>> {
            let fact = InferenceFact::dt_shape(f32::datum_type(), &dims);
            let model = onnx()
                .with_ignore_output_shapes(true)
                .with_ignore_value_info(true)
                .model_for_path(path)?
                .with_input_fact(0, fact)?;
            match plan {
                Plan::AsWritten => model.into_typed()?.into_runnable(),
                Plan::Optimized => model.into_optimized()?.into_runnable(),
            }
        };
        let plan = prepare().map_err(|error| anyhow!("tract cannot run {}: {error:#}", path.display()))?;
        Ok(Self { plan, dims })
    }

    /// Runs real values `[h, w, c]`; returns the real scores.
    ///
    /// # Errors
    /// When tract fails.
    pub fn run(&self, values: impl Iterator<Item = f32>) -> anyhow::Result<Vec<f32>> {
        let values: Vec<f32> = values.collect();
        let run = || -> TractResult<Vec<f32>> {
            let channels = self.dims.get(1).copied().unwrap_or(1).max(1);
            let planes = (0..channels).flat_map(|c| values.iter().skip(c).step_by(channels).copied());
            let input = Tensor::from_shape(&self.dims, &planes.collect::<Vec<_>>())?;
            let outputs = self.plan.run(tvec!(input.into_tvalue()))?;
            let output = outputs.first().context("no output")?;
            Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        run().map_err(|error| anyhow!("tract failed: {error:#}"))
    }
}

/// What the comparison has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Frames that were compared.
    pub frames: u64,
    /// Frames whose best class was another.
    pub disagreements: u64,
    /// The largest difference of a score, in steps of the output's scale.
    pub most_steps: u32,
}

/// Compares every `every`-th frame.
pub struct Verifier {
    judge: Judge,
    every: u64,
    seen: u64,
    scale: f32,
    zero_point: i32,
    /// What has been found.
    pub found: Verified,
}

impl Verifier {
    /// Prepares the quantized network that lies beside a model.
    ///
    /// # Errors
    /// When it is not there, or tract cannot run it.
    pub fn new(file: &ModelFile, every: u64) -> anyhow::Result<Self> {
        let model = file.model()?;
        let output = model.output().context("the model has no output")?;
        let judge = Judge::open(&file.folder().join(QUANTIZED), model.input_shape(), Plan::AsWritten)?;
        let (scale, zero_point) = (output.scale, output.zero_point);
        Ok(Self { judge, every: every.max(1), seen: 0, scale, zero_point, found: Verified::default() })
    }

    /// Runs the input that the classifier converted last, whose pixels it must have [kept](Classifier::keep_pixels), and compares the scores.
    ///
    /// # Errors
    /// When tract fails, or gives another number of scores.
    pub fn check(&mut self, classifier: &Classifier<'_, '_, '_, '_>, scores: &[i8]) -> anyhow::Result<()> {
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.every) {
            return Ok(());
        }
        let real = self.judge.run(classifier.real_input())?;
        ensure!(real.len() == scores.len(), "tract gives {} scores, the model {}", real.len(), scores.len());
        let quantized: Vec<i8> = real.iter().map(|&value| quantize(value, self.scale, self.zero_point)).collect();
        self.found.frames += 1;
        // of two equal best scores either may be named: only a class that is worse on both sides is another
        if best(&quantized) != best(scores) && !is_tie(&quantized, scores) {
            self.found.disagreements += 1;
        }
        let steps = quantized.iter().zip(scores).map(|(a, b)| u32::from(a.abs_diff(*b))).max().unwrap_or(0);
        self.found.most_steps = self.found.most_steps.max(steps);
        Ok(())
    }
}

/// The int8 value of a real one.
fn quantize(value: f32, scale: f32, zero_point: i32) -> i8 {
    let steps = (value / scale).round() + zero_point as f32;
    steps.clamp(-128.0, 127.0) as i8
}

/// Whether the best class of one side is among the best of the other, too.
fn is_tie(a: &[i8], b: &[i8]) -> bool {
    let among = |own: &[i8], other: &[i8]| {
        best(own).is_some_and(|class| other.get(class).is_some() && other.get(class) == other.iter().max())
    };
    among(a, b) || among(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::jpeg::tests::colourful;

    fn verified(model: &str, threads: usize) -> Verified {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models");
        let file = ModelFile::read(&models.join(model)).unwrap();
        let mut verifier = Verifier::new(&file, 2).unwrap();
        file.with_classifier(threads, |classifier| {
            classifier.keep_pixels();
            for number in 0..9 {
                let mut frame: Frame = colourful(40 + number, 30);
                let (from, to) = (usize::try_from(number).unwrap() * 100, 2000);
                frame.pixels[from..to].reverse();
                let scores = classifier.classify(&frame).unwrap().to_vec();
                verifier.check(classifier, &scores).unwrap();
            }
        })
        .unwrap();
        verifier.found
    }

    #[test]
    fn tract_agrees_on_every_second_frame_within_two_steps() {
        for model in ["mnist-cnn", "cifar-cnn"] {
            let found = verified(model, 2);
            assert_eq!((found.frames, found.disagreements), (5, 0), "{model}");
            assert!(found.most_steps <= 2, "{model}: {found:?}"); // rounding of halves, see docs/design.md
        }
    }

    #[test]
    fn a_model_without_its_run_folder_is_refused_with_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models/mnist-cnn/model.ocelli");
        std::fs::copy(model, folder.path().join("model.ocelli")).unwrap();
        let file = ModelFile::read(folder.path()).unwrap();
        let error = Verifier::new(&file, 1).err().unwrap().to_string();
        assert!(error.contains(QUANTIZED), "{error}");
    }

    #[test]
    fn a_tie_is_no_disagreement() {
        assert!(is_tie(&[5, 5, 0], &[4, 5, 0]));
        assert!(!is_tie(&[5, 4, 0], &[4, 5, 0]));
        assert_eq!([0.0, 0.5, 0.999, 2.0, -1.0].map(|v| quantize(v, 1.0 / 256.0, -128)), [-128, 0, 127, 127, -128]);
    }
}
