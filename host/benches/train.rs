//! Training steps on demand, for `cargo xtask bench train`: forward, backward and Adam's step on batches of noise.
//!
//! `train NETWORK BATCH ours|burn` says "ready", then answers each line of its input, a number of steps, with a line: the seconds they took.
//! `train NETWORK toml` prints the network as a net.toml, for the others. Answering on demand lets the caller interleave it with other programs.

use anyhow::{Context, bail};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Int, Tensor, TensorData};
use ocelli_host::network::{Network, Weights};
use ocelli_host::train::{Classifier, device};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::io::Write;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    ocelli_host::memory::keep(); // as `ocelli train`
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [name, what] = arguments.as_slice()
        && what == "toml"
    {
        print!("{}", Network::open(name)?.to_toml());
        return Ok(());
    }
    let [name, batch, operators] = arguments.as_slice() else {
        println!("nothing measured: this one is run by `cargo xtask bench train`");
        return Ok(());
    };
    let batch: usize = batch.parse().context("BATCH is a number of images")?;
    let network = Network::open(name)?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let device = device("flex")?.autodiff();
    let mut module = Classifier::new(&network, &Weights::initial(&network, &mut rng)?, &device)?;
    match operators.as_str() {
        "ours" => {}
        "burn" => module = module.with_burns_operators(),
        other => bail!("operators are ours or burn, not {other}"),
    }
    let mut optimizer = AdamConfig::new().with_epsilon(1e-7).init();
    let criterion = CrossEntropyLossConfig::new().init(&device);
    let shape = network.input.shape;
    let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
    let pixels: Vec<f32> = (0..batch * h * w * c).map(|_| rng.random_range(-1.0..1.0)).collect();
    let classes = network.classes()?;
    let targets: Vec<i64> = (0..batch).map(|i| (i % classes) as i64).collect();
    println!("ready");
    for line in std::io::stdin().lines() {
        let steps: usize = line?.trim().parse().context("a line is a number of steps")?;
        let began = Instant::now();
        for _ in 0..steps {
            let x = Tensor::<4>::from_data(TensorData::new(pixels.clone(), [batch, c, h, w]), &device);
            let targets = Tensor::<1, Int>::from_data(TensorData::new(targets.clone(), [batch]), &device);
            let loss = criterion.forward(module.forward(x), targets);
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                bail!("the loss became {value}");
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &module);
            module = optimizer.step(1e-3, module, gradients);
        }
        println!("{}", began.elapsed().as_secs_f64());
        std::io::stdout().flush()?;
    }
    Ok(())
}
