//! Copies of a network on several threads of this machine.

use super::super::history::HistoryRow;
use super::super::optimizer::numbered;
use super::super::source::{Inputs, mixed};
use super::super::step;
use super::super::tests::halves;
use super::super::{History, train};
use super::*;
use crate::network::{Network, Weights};
use burn::module::{ModuleVisitor, Param};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const HEAD: &str = "name = \"small\"\n[input]\nheight = 6\nwidth = 6\ncolor = \"gray\"\nmean = [0.5]\nstd = [0.25]\n\
    [[layer]]\ntype = \"conv2d\"\nname = \"a\"\nfilters = 4\nkernel = 3\nactivation = \"relu\"\n";
const NORM: &str = "[[layer]]\ntype = \"batch_norm\"\nname = \"norm\"\nmomentum = 0.9\n";
const TAIL: &str = "[[layer]]\ntype = \"max_pool2d\"\nkernel = 2\n[[layer]]\ntype = \"flatten\"\n\
    [[layer]]\ntype = \"dense\"\nname = \"own\"\nunits = 2\n[[layer]]\ntype = \"softmax\"\n";

fn network(norm: &str) -> Network {
    Network::from_toml(&format!("{HEAD}{norm}{TAIL}"), "test").unwrap()
}

fn config(devices: usize) -> TrainingConfig {
    let devices = (0..devices).map(|i| format!("cpu:{i}")).collect();
    TrainingConfig { epochs: 3, batch_size: 7, learning_rate: 0.01, devices, ..TrainingConfig::default() }
}

fn batch(images: usize) -> Batch {
    let set = halves(images, 1);
    Batch {
        inputs: Inputs::Pixels(set.pixels.clone()),
        targets: set.targets.clone(),
        mixed: Vec::new(),
        indices: Vec::new(),
    }
}

/// What a device finds in a batch: the loss, the logits, the gradients in one list, and which layers have some.
type Findings = (f32, Vec<f32>, Vec<f32>, Vec<bool>);

/// The gradients of a batch, first by one device, then by copies.
fn both(network: &Network, images: usize, devices: usize, frozen: &str) -> [Findings; 2] {
    let start = Weights::initial(network, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    let device = Device::flex();
    let module = || {
        let module = numbered(Classifier::new(network, &start, &device.clone().autodiff()).unwrap());
        module.freeze(|name| name == frozen, |_| false)
    };
    let (here, there) = (module(), module());
    let labels = ["left", "right"].map(str::to_owned);
    let config = TrainingConfig { label_smoothing: 0.1, ..config(devices) };
    let criterion = Criterion::new(&config, &labels, &[1, 1]).unwrap();
    let (frozen, still) = (vec![frozen.to_owned()], Vec::new());
    let blueprint = Blueprint { network: network.clone(), start: start.clone(), first: 0, frozen, still };
    let replicas = Replicas::open(&config, blueprint).unwrap().unwrap();
    let batch = batch(images);
    let x = step::inputs(network, None, &batch.inputs, &device, &device.clone().autodiff());
    let alone = step::find(&here, here.forward_from(x, 0), &criterion, &batch);
    let together = replicas.find(&there, &criterion, &batch, mixed(1, 1), &device).unwrap();
    [(here, alone), (there, together)].map(|(module, found)| {
        let mut gather = flat::Gather::new(found.gradients);
        module.visit(&mut gather);
        (found.loss, found.logits, flat::read(gather.parts).unwrap(), gather.present)
    })
}

#[track_caller]
fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-6 + 1e-5 * a.abs(), "{a} {b}");
    }
}

#[test]
fn copies_find_the_gradients_of_one_device() {
    // even parts, uneven ones, and a device without an image
    for (images, devices) in [(8, 2), (7, 3), (2, 3)] {
        let [one, copies] = both(&network(""), images, devices, "");
        assert_near(&[one.0], &[copies.0]);
        assert_near(&one.1, &copies.1);
        assert_near(&one.2, &copies.2);
        assert!(one.2.iter().any(|g| g.abs() > 1e-3), "gradients that are not zero");
    }
}

#[test]
fn a_frozen_layer_has_no_gradient_on_any_device() {
    let [one, copies] = both(&network(NORM), 6, 2, "a");
    assert_eq!(one.3, copies.3);
    assert!(one.3.contains(&false) && one.3.contains(&true));
    assert_eq!(one.2.len(), copies.2.len());
}

fn losses(history: &History) -> Vec<f32> {
    let of = |row: &HistoryRow| [row.loss as f32, row.val_loss as f32];
    history.rows.iter().flat_map(of).collect()
}

#[test]
fn a_training_on_copies_is_that_of_one_device() {
    let (training, validation) = (halves(60, 1), halves(24, 2));
    let run = |devices| train(&network(""), &config(devices), &training, &validation, &mut |_| {}).unwrap();
    let (one, three) = (run(0), run(3));
    for (a, b) in losses(&one.1).iter().zip(losses(&three.1)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    // copies answer in any order, and it does not show
    let again = run(3);
    assert_eq!((losses(&three.1), three.0), (losses(&again.1), again.0));
}

#[test]
fn running_statistics_are_the_mean_of_the_parts() {
    let network = network(NORM);
    let training = halves(7, 1);
    let one_step = |devices, momentum: f64| {
        let mut network = network.clone();
        for layer in &mut network.layers {
            if let crate::network::LayerKind::BatchNorm { momentum: kept, .. } = &mut layer.kind {
                *kept = momentum;
            }
        }
        let config = TrainingConfig { epochs: 1, ..config(devices) };
        train(&network, &config, &training, &training, &mut |_| {}).unwrap().0.norm("norm").unwrap().clone()
    };
    // the mean of the parts' means is that of the batch, for parts of 3 and 4 images too
    let (one, two) = (one_step(0, 0.5), one_step(2, 0.5));
    assert_near(&one.mean, &two.mean);
    assert!(two.variance.iter().zip(&one.variance).all(|(parts, all)| *parts <= all + 1e-5), "{one:?} {two:?}");
}

#[test]
fn a_copy_that_fails_is_a_lost_device() {
    let network = network("");
    let blueprint =
        Blueprint { network: network.clone(), start: Weights::default(), first: 0, frozen: vec![], still: vec![] };
    let replicas = Replicas::open(&config(2), blueprint).unwrap().unwrap();
    let start = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    let module = Classifier::new(&network, &start, &Device::flex().autodiff()).unwrap();
    let criterion = Criterion::new(&config(2), &["left".to_owned(), "right".to_owned()], &[1, 1]).unwrap();
    let Err(error) = replicas.find(&module, &criterion, &batch(4), 1, &Device::flex()) else { panic!("no error") };
    let lost = error.downcast_ref::<Lost>().unwrap();
    assert_eq!(lost.place, Place::Cpu(0));
    assert!(lost.reason.contains("no weights"), "{}", lost.reason);
}

#[test]
fn parts_cover_a_batch_and_are_alike() {
    for (images, parts) in [(8, 2), (7, 3), (1, 4), (0, 2)] {
        let ranges = divided(images, parts);
        assert_eq!(ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..images).collect::<Vec<_>>());
        let sizes = || ranges.iter().map(Range::len);
        assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{ranges:?}");
    }
}

/// The tensors of a module and how many numbers they have.
struct Sizes(Vec<usize>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.push(parameter.val().dims().iter().product());
    }
}

#[test]
fn a_module_survives_its_list_of_numbers() {
    let network = network(NORM);
    let device = Device::flex();
    let module = |seed| {
        let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        Classifier::new(&network, &weights, &device.clone().autodiff()).unwrap()
    };
    let (from, to) = (module(1), module(2));
    let list = numbers(&from).unwrap();
    let mut sizes = Sizes(Vec::new());
    from.visit(&mut sizes);
    assert_eq!(list.len(), sizes.0.iter().sum::<usize>());
    let data = TensorData::new(list.clone(), [list.len()]);
    let to = flat::with_numbers(to, Tensor::from_data(data, &device));
    assert_eq!(to.to_weights(), from.to_weights());
}
