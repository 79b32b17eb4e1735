//! A copy of the network on one device, with a thread of its own.

use super::super::batches::pixel_tensor;
use super::super::evaluate::feature_tensor;
use super::super::loss::cross_entropy;
use super::super::module::Classifier;
use super::super::optimizer::numbered;
use super::super::place::Place;
use super::super::source::{Inputs, mixed};
use super::Lost;
use super::flat::{Gather, in_line, read, statistics, with_numbers};
use crate::network::{Network, Weights};
use anyhow::{Context, ensure};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a device may take for its part of a batch.
const PATIENCE: Duration = Duration::from_secs(600);

/// Burn's random numbers come from one generator of the process: a copy with dropout seeds it and draws while no other does.
static DRAWING: Mutex<()> = Mutex::new(());

/// How a copy is built.
pub struct Blueprint {
    pub network: Network,
    pub start: Weights,
    /// The first stage that is run.
    pub first: usize,
    /// Layers that are not trained.
    pub frozen: Vec<String>,
    /// Batch norms that keep their statistics.
    pub still: Vec<String>,
}

/// A part of a batch, and the numbers that the network has for it.
pub struct Task {
    pub numbers: Arc<Vec<f32>>,
    pub inputs: Inputs,
    /// `[images, classes]`.
    pub targets: TensorData,
    pub seed: u64,
}

/// What a copy found for its part.
pub struct Share {
    pub images: usize,
    /// The mean over the part.
    pub loss: f32,
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    /// Running mean and variance of each batch norm.
    pub statistics: Vec<f32>,
    /// Of the mean loss.
    pub gradients: Vec<f32>,
    /// Which of the module's tensors have a gradient.
    pub present: Vec<bool>,
}

/// The copy as the trainer sees it; the thread ends when this goes.
pub struct Replica {
    place: Place,
    tasks: Sender<Task>,
    answers: Receiver<anyhow::Result<Share>>,
}

impl Replica {
    /// Starts the thread of a copy; `index` tells apart the copies' random numbers.
    pub fn start(index: u64, place: Place, device: Device, blueprint: Arc<Blueprint>) -> anyhow::Result<Self> {
        let (tasks, inbox) = mpsc::channel::<Task>();
        let (outbox, answers) = mpsc::channel();
        let local = !place.is_remote();
        let thread = thread::Builder::new().name(place.to_string());
        let work = move || {
            let mut twin = Twin { index, local, device, blueprint, module: None };
            for task in inbox {
                // Burn panics where it has no error to return
                let answer = catch_unwind(AssertUnwindSafe(|| twin.share(&task)));
                let answer = answer.unwrap_or_else(|panic| Err(anyhow::anyhow!("{}", text(&*panic))));
                let failed = answer.is_err();
                if outbox.send(answer).is_err() || failed {
                    return;
                }
            }
        };
        thread.spawn(work).with_context(|| format!("cannot start a thread for the device {place}"))?;
        Ok(Self { place, tasks, answers })
    }

    /// Gives the copy something to do.
    pub fn give(&self, task: Task) -> anyhow::Result<()> {
        self.tasks.send(task).map_err(|_| self.lost("its thread has ended"))
    }

    /// Waits for what it found.
    pub fn take(&self) -> anyhow::Result<Share> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(error)) => Err(self.lost(&format!("{error:#}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.lost(&format!("it has not answered for {} minutes", PATIENCE.as_secs() / 60)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.lost("its thread has ended")),
        }
    }

    fn lost(&self, reason: &str) -> anyhow::Error {
        Lost { place: self.place.clone(), reason: reason.to_owned() }.into()
    }
}

/// The copy itself, on its thread: Burn orders the work of a remote device by the thread that asks for it.
struct Twin {
    index: u64,
    local: bool,
    device: Device,
    blueprint: Arc<Blueprint>,
    module: Option<Classifier>,
}

impl Twin {
    fn share(&mut self, task: &Task) -> anyhow::Result<Share> {
        let Blueprint { network, start, first, frozen, still } = &*self.blueprint;
        let training_device = self.device.clone().autodiff();
        let module = match self.module.take() {
            Some(module) => module,
            None => {
                let named = |list: &Vec<String>, name: &str| list.iter().any(|listed| listed == name);
                let module = numbered(Classifier::new(network, start, &training_device)?);
                module.freeze(|name| named(frozen, name), |name| named(still, name))
            }
        };
        let flat = TensorData::new(task.numbers.to_vec(), [task.numbers.len()]);
        let module = with_numbers(module, Tensor::from_data(flat, &self.device));
        let x = match &task.inputs {
            Inputs::Pixels(pixels) => pixel_tensor(network, pixels, &training_device),
            Inputs::Features(values, shape) => feature_tensor(values.clone(), *shape, &training_device),
        };
        let logits = {
            let alone = self.local && module.draws();
            let _drawing = alone.then(|| DRAWING.lock().unwrap_or_else(PoisonError::into_inner));
            self.device.seed(if self.index == 0 { task.seed } else { mixed(task.seed, self.index) });
            module.forward_from(x, *first)
        };
        let [images, classes] = logits.dims();
        let loss = cross_entropy(logits.clone(), Tensor::from_data(task.targets.clone(), &training_device));
        let mut gather = Gather::new(GradientsParams::from_grads(loss.clone().backward(), &module));
        module.visit(&mut gather);
        // all in one message: a device may be far away
        let statistics = statistics(&module);
        let count: usize = statistics.iter().map(|tensor| tensor.dims()[0]).sum();
        let mut parts = vec![in_line(loss.inner()), in_line(logits.inner())];
        parts.extend(statistics);
        parts.extend(gather.parts);
        let values = read(parts)?;
        self.module = Some(module);
        ensure!(values.len() > images * classes + count, "it gave {} numbers", values.len());
        let (head, gradients) = values.split_at(1 + images * classes + count);
        let (head, statistics) = head.split_at(1 + images * classes);
        Ok(Share {
            images,
            loss: head[0],
            logits: head[1..].to_vec(),
            statistics: statistics.to_vec(),
            gradients: gradients.to_vec(),
            present: gather.present,
        })
    }
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked")
}
