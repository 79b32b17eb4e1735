//! The numbers of a module as one list, so that a device gets and gives them in one message.

use super::super::module::Classifier;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// All numbers of a module in its own order, running statistics among them.
pub fn numbers(module: &Classifier) -> anyhow::Result<Vec<f32>> {
    struct All(Vec<Tensor<1>>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            self.0.push(in_line(parameter.val().inner()));
        }
    }
    let _ = statistics(module); // a visitor sees them as they were before the last step
    let mut all = All(Vec::new());
    module.visit(&mut all);
    read(all.0)
}

/// The running statistics of all batch norms, up to date: mean and variance of each.
pub fn statistics(module: &Classifier) -> Vec<Tensor<1>> {
    let states = module.norms().iter().flat_map(|norm| [&norm.running_mean, &norm.running_var]);
    states.map(|state| state.value_sync().inner()).collect()
}

/// A tensor's elements in a line.
pub fn in_line<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let elements = tensor.dims().iter().product::<usize>();
    tensor.reshape([elements])
}

/// The elements of tensors, one after the other.
///
/// # Errors
/// When the device does not answer.
pub fn read(parts: Vec<Tensor<1>>) -> anyhow::Result<Vec<f32>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let data = Tensor::cat(parts, 0).try_into_data();
    // Burn's error has several lines
    let one_line = |error: String| error.split_whitespace().collect::<Vec<_>>().join(" ");
    let data = data.map_err(|error| anyhow::anyhow!("cannot read its results: {}", one_line(error.to_string())))?;
    Ok(data.iter::<f32>().collect())
}

/// A piece of a line.
struct Cursor {
    flat: Tensor<1>,
    at: usize,
}

impl Cursor {
    fn next<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let start = self.at;
        self.at += shape.iter().product::<usize>();
        self.flat.clone().slice(start..self.at).reshape(shape)
    }
}

/// Gives a module the numbers of another of the same network; `flat` lies where the module does.
pub fn with_numbers(module: Classifier, flat: Tensor<1>) -> Classifier {
    struct Fill(Cursor);
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, old, mapper) = parameter.consume();
            let new = Tensor::from_inner(self.0.next(old.dims()));
            Param::from_mapped_value(id, new.set_require_grad(old.is_require_grad()), mapper)
        }
    }
    module.map(&mut Fill(Cursor { flat, at: 0 }))
}

/// Takes the gradients of a module's tensors, in the module's order.
#[derive(Default)]
pub struct Gather {
    gradients: GradientsParams,
    /// The gradients that there are.
    pub parts: Vec<Tensor<1>>,
    /// For each tensor whether it has one.
    pub present: Vec<bool>,
}

impl Gather {
    pub fn new(gradients: GradientsParams) -> Self {
        Self { gradients, ..Self::default() }
    }
}

impl ModuleVisitor for Gather {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = self.gradients.remove::<D>(parameter.id);
        self.present.push(gradient.is_some());
        self.parts.extend(gradient.map(in_line));
    }
}

/// The reverse of [`Gather`].
pub struct Scatter<'a> {
    cursor: Cursor,
    present: std::slice::Iter<'a, bool>,
    gradients: &'a mut GradientsParams,
}

impl<'a> Scatter<'a> {
    pub fn new(flat: Tensor<1>, present: &'a [bool], gradients: &'a mut GradientsParams) -> Self {
        Self { cursor: Cursor { flat, at: 0 }, present: present.iter(), gradients }
    }
}

impl ModuleVisitor for Scatter<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if self.present.next().is_some_and(|present| *present) {
            self.gradients.register(parameter.id, self.cursor.next(parameter.val().dims()));
        }
    }
}
