//! Two cores share the rows of convolutions: the same bytes, on threads of the host and on an emulated chip with two cores.

use crate::support::{device_toolchain, repository};
use ocelli::team::Team;
use ocelli_firmware_tools::{BenchOptions, duo};
use ocelli_host::check::golden::{Golden, Pair, first_difference, read_network};
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::model::ModelBytes;

/// Networks of tests/models with convolutions, depthwise ones among them.
const NETWORKS: [&str; 4] = ["branches_int8", "gated_int8", "mnist_cnn_int8", "resnet8_made_int8"];

fn compiled(name: &str, target: Target) -> (Vec<u8>, Vec<Pair>) {
    let path = |end: &str| repository(&format!("tests/models/{name}.{end}"));
    let network = read_network(&path("tflite")).unwrap();
    let model = compile(&network, Options::for_target(target)).unwrap();
    let again = Target::of_model(&ModelBytes::new(&model).model().unwrap());
    assert!(compile(&network, Options::for_target(again)).unwrap() == model, "{name}: compiled for its own target");
    (model, Golden::read(&path("golden.json")).unwrap().pairs(&network).unwrap())
}

/// Two threads; counts what they shared.
#[derive(Default)]
struct Threads {
    joins: usize,
}

impl Team for Threads {
    const CORES: usize = 2;

    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.joins += 1;
        std::thread::scope(|scope| {
            scope.spawn(b);
            a();
        });
    }
}

/// The outputs with two threads, and how often they shared a row.
fn on_threads(model: &[u8], pairs: &[Pair]) -> (Vec<Vec<i8>>, usize) {
    let mut team = Threads::default();
    let outputs = ModelBytes::new(model).with_session(|session| {
        let row = session.model().input_shape().row_len().unwrap() as usize;
        let mut run = |pair: &Pair| {
            for values in pair.input.chunks_exact(row) {
                session.push_row_with(&mut team, |row| row.copy_from_slice(values), |_| {});
            }
            session.output().to_vec()
        };
        Ok(pairs.iter().map(&mut run).collect())
    });
    (outputs.unwrap(), team.joins)
}

#[test]
fn two_threads_give_every_recorded_byte() {
    for name in NETWORKS {
        let (model, pairs) = compiled(name, Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 2 });
        let (outputs, joins) = on_threads(&model, &pairs[..2]);
        assert_eq!(first_difference(&pairs[..2], &outputs).unwrap(), None, "{name}");
        assert!(joins > 0, "{name}: nothing was shared");
    }
}

#[test]
fn a_layer_without_scratch_memory_for_two_is_computed_by_one() {
    let (model, pairs) =
        compiled("resnet8_made_int8", Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 1 });
    let (outputs, few) = on_threads(&model, &pairs[..1]);
    assert_eq!(first_difference(&pairs[..1], &outputs).unwrap(), None);
    let (model, pairs) =
        compiled("resnet8_made_int8", Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 2 });
    let (_, all) = on_threads(&model, &pairs[..1]);
    // 9 convolutions: three of 32 rows, three of 16 and three of 8
    assert_eq!(all, 3 * (32 + 16 + 8));
    assert!(few < all, "{few}");
}

#[test]
fn two_emulated_cores_give_every_recorded_byte_and_share_the_work() {
    let Some((board, toolchain)) = device_toolchain("qemu-m33-duo") else { return };
    let (model, pairs) = compiled("resnet8_made_int8", Target::of(board));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.ocelli");
    std::fs::write(&path, model).unwrap();
    let inputs: Vec<Vec<i8>> = pairs.iter().take(2).map(|pair| pair.input.clone()).collect();
    let report = duo(board, &toolchain, &path, &inputs, &BenchOptions::default()).unwrap();
    assert_eq!(first_difference(&pairs[..2], &report.outputs).unwrap(), None);

    let [first, second] = report.together;
    assert_eq!(report.alone.waiting, 0);
    // each row is computed once: what sharing costs is small next to the work
    let both = first.work + second.work;
    assert!(both >= report.alone.work && both < report.alone.work / 50 * 51, "{report:?}");
    // the first core also adds, pools and looks after the schedule
    assert!(second.work < first.work && first.work < report.alone.work / 100 * 55, "{report:?}");
    assert!((first.work..both).contains(&report.span) && report.span < report.alone.work / 100 * 55, "{report:?}");
    assert!(report.stack_bytes.iter().all(|&bytes| bytes > 0), "{report:?}");
}
