//! The same weights written in each scheme, and files that are not the network's.

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use safetensors::tensor::{Dtype, TensorView};

/// A convolution, a depthwise one, a batch norm, a flatten of several rows and channels, a dense layer.
const NET: &str = r#"
name = "small"
[input]
height = 4
width = 6
color = "rgb"
[[layer]]
type = "conv2d"
name = "c"
filters = 4
kernel = [2, 3]
[[layer]]
type = "depthwise_conv2d"
name = "d"
kernel = [1, 2]
multiplier = 2
bias = false
[[layer]]
type = "batch_norm"
name = "n"
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
name = "out"
units = 3
[[layer]]
type = "softmax"
"#;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn file(tensors: &Tensors) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn network() -> Network {
    Network::from_toml(NET, "net.toml").unwrap()
}

fn start(network: &Network) -> Weights {
    let mut weights = Weights::initial(network, &mut ChaCha8Rng::seed_from_u64(5)).unwrap();
    for place in places(network).unwrap() {
        if let Some(norm) = weights.norm(&place.layer) {
            let mut norm = norm.clone();
            norm.mean = (0..norm.mean.len()).map(|c| c as f32).collect();
            weights.insert_norm(&place.layer, norm);
        }
    }
    weights
}

/// Every number of [`NET`] as Keras stores it, index by index.
fn keras(weights: &Weights) -> Tensors {
    let (c, d, out, n) = (
        weights.layer("c").unwrap(),
        weights.layer("d").unwrap(),
        weights.layer("out").unwrap(),
        weights.norm("n").unwrap(),
    );
    let mut hwio = Vec::new();
    for at in 0..2 * 3 * 3 {
        hwio.extend((0..4).map(|o| c.kernel[o * 18 + at]));
    }
    let inputs = out.shape[3];
    let mut dense = Vec::new();
    for i in 0..inputs {
        dense.extend((0..3).map(|o| out.kernel[o * inputs + i]));
    }
    vec![
        ("c/c/kernel:0".to_owned(), vec![2, 3, 3, 4], hwio),
        ("c/c/bias:0".to_owned(), vec![4], c.bias.clone()),
        ("d/depthwise_kernel".to_owned(), vec![1, 2, 4, 2], d.kernel.clone()),
        ("n/gamma".to_owned(), vec![8], n.gamma.clone()),
        ("n/beta".to_owned(), vec![8], n.beta.clone()),
        ("n/moving_mean".to_owned(), vec![8], n.mean.clone()),
        ("n/moving_variance".to_owned(), vec![8], n.variance.clone()),
        ("out/kernel".to_owned(), vec![inputs, 3], dense),
        ("out/bias".to_owned(), vec![3], out.bias.clone()),
    ]
}

#[test]
fn our_own_and_keras_tensors_become_the_same_weights() {
    let network = network();
    let weights = start(&network);
    let mut own = Tensors::new();
    for (name, shape, bytes) in weights.tensors() {
        own.push((name, shape, bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()));
    }
    for tensors in [own, keras(&weights)] {
        // the file has three classes, whatever the network says
        let read = import(&file(&tensors), &network.clone().with_classes(7).unwrap()).unwrap();
        assert_eq!(read.network, network);
        assert_eq!(read.weights, weights);
        assert_eq!(read.notes, Vec::<String>::new());
    }
}

#[test]
fn what_is_missing_misshapen_or_left_over_is_named_at_once() {
    let network = network();
    let mut tensors = keras(&start(&network));
    tensors.retain(|(name, ..)| name != "n/beta");
    tensors[0].1 = vec![3, 2, 3, 4];
    tensors.push(("spare/kernel".to_owned(), vec![1], vec![0.0]));
    let error = import(&file(&tensors), &network).unwrap_err().to_string();
    for part in ["'n/beta' is missing", "[3, 2, 3, 4], the network needs [2, 3, 3, 4]", "no layer takes 'spare/kernel'"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let mut tensors = keras(&start(&network));
    tensors.push(("spare/kernel".to_owned(), vec![1], vec![0.0]));
    let notes = import(&file(&tensors), &network).unwrap().notes;
    assert!(notes[0].contains("'spare/kernel'"), "{notes:?}");
    tensors[1].2[2] = f32::NAN;
    assert!(import(&file(&tensors), &network).unwrap_err().to_string().contains("'c/c/bias:0' holds NaN at element 2"));
    let strange = vec![("blocks.0.weight".to_owned(), vec![1], vec![1.0])];
    let error = import(&file(&strange), &network).unwrap_err().to_string();
    assert!(error.contains("'blocks.0.weight'") && error.contains("'c/kernel' (Keras)"), "{error}");
    assert!(import(&file(&tensors)[..40], &network).unwrap_err().to_string().contains("no safetensors file"));
}

#[test]
fn torchvisions_tensors_are_turned_and_its_form_is_taken() {
    // VGG-16 made small: the flatten's order, and what torchvision's pictures are
    let network = Network::open("vgg16").unwrap().with_input(64, 64).unwrap().with_classes(5).unwrap();
    let error = import(&file(&vec![("features.0.weight".to_owned(), vec![64, 3, 3, 3], vec![0.0; 1728])]), &network);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("'features.28.weight' is missing") || error.contains("and "), "{error}");
    assert!(error.contains("'features.0.bias' is missing"), "{error}");
    // a convolution: file [o, i, h, w], ours [o, h, w, i]
    let at = |o: usize, i: usize, h: usize, w: usize| (((o * 2 + i) * 2 + h) * 3 + w) as f32;
    let ours = Layout::Convolution([4, 2, 3, 2]).ours(Scheme::Torchvision, (0..48_u8).map(f32::from).collect());
    assert_eq!(ours[((3 * 2 + 1) * 3 + 2) * 2], at(3, 0, 1, 2));
    // a dense layer behind a flatten of 2x3x4: file [o, c * h * w], ours [o, h * w * c]
    let dense = Layout::Dense { shape: [2, 1, 1, 24], picture: Some(Shape::new(2, 3, 4)) };
    let ours = dense.ours(Scheme::Torchvision, (0..48_u8).map(f32::from).collect());
    let (h, w, c) = (1, 2, 3);
    assert_eq!(ours[24 + (h * 3 + w) * 4 + c], (24 + (c * 2 + h) * 3 + w) as f32);
    // depthwise: file [c, 1, h, w], ours [1, h, w, c]
    let depthwise = Layout::Depthwise { shape: [1, 2, 3, 4], channels: 4 };
    let ours = depthwise.ours(Scheme::Torchvision, (0..24_u8).map(f32::from).collect());
    assert_eq!(ours[(3 + 2) * 4 + 3], (3 * 6 + 3 + 2) as f32);
}

#[test]
fn numbers_of_half_and_double_precision_are_read() {
    let view = |dtype, bytes: &[u8]| floats(&TensorView::new(dtype, vec![1], bytes).unwrap());
    assert_eq!(view(Dtype::BF16, &0xc040_u16.to_le_bytes()), Some(vec![-3.0])); // 1 10000000 1000000
    assert_eq!(view(Dtype::F16, &0xc200_u16.to_le_bytes()), Some(vec![-3.0])); // 1 10000 1000000000
    assert_eq!(view(Dtype::F64, &(-3.0_f64).to_le_bytes()), Some(vec![-3.0]));
    assert_eq!(view(Dtype::I32, &3_i32.to_le_bytes()), None);
}
