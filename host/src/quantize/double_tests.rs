use super::super::equalize::{plain, span, tests as nets};
use super::super::{Adjustments, Calibration, QuantizedNetwork, quantize};
use super::*;
use crate::check::Judge;
use crate::train::device;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const SEED: u64 = 7;
/// Channels of the depthwise layer that nothing comes out of.
const DEAD: [usize; 2] = [2, 5];

/// A network with dead channels, its batch norms folded, and images.
fn with_dead_channels(activation: &str) -> (Network, Weights, Dataset) {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let network = nets::network(activation);
    let weights = nets::unlike_weights(&network, &mut rng).folded(&network).unwrap();
    let network = plain(&network).unwrap();
    let images = nets::images(&network, 24, &mut rng);
    let mut weights = weights;
    let mut depthwise = weights.layer("depthwise").unwrap().clone();
    DEAD.iter().for_each(|&channel| depthwise.bias[channel] = -1e4);
    weights.insert("depthwise", depthwise);
    (network, weights, images)
}

fn found(network: &Network, weights: &Weights, images: &Dataset) -> Doubles {
    let device = device("flex").unwrap();
    doubles(network, weights, &span(network, weights, images, &device).unwrap().peaks, images, 0.0, &device).unwrap()
}

#[test]
fn dead_channels_take_copies_and_the_float_function_stays() {
    let (network, weights, images) = with_dead_channels("relu");
    let doubles = found(&network, &weights, &images);
    // the random dense layer has dead units too
    assert_eq!(doubles.keys().collect::<Vec<_>>(), ["first", "hidden"]);
    assert_eq!(doubles["first"].iter().map(|double| double.channel).collect::<Vec<_>>(), DEAD);
    let before = nets::in_tract(&network, &weights, &images);
    let (same, doubled) = Adjustments { doubles, ..Adjustments::default() }.equalized(&network, &weights).unwrap();
    assert_ne!(doubled, weights);
    let after = nets::in_tract(&same, &doubled, &images);
    let largest = before.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 2e-5 * largest, "{a} {b}");
    }
}

#[test]
fn the_channels_whose_noise_matters_most_are_copied_and_it_grows_less() {
    let (network, weights, images) = with_dead_channels("relu");
    let device = device("flex").unwrap();
    let judge = Judge::new(&network, &weights, &images).unwrap();
    let quantized = |doubles: &Doubles| -> QuantizedNetwork {
        let (network, weights) = doubled(&network, &weights, doubles).unwrap();
        let calibration = Calibration::observe(&network, &weights, &images, &device).unwrap();
        quantize(&network, &weights, &calibration, &images.labels).unwrap()
    };
    let snr = |doubles: &Doubles| judge.judge(&quantized(doubles)).unwrap().snr_db.unwrap();
    let mut chosen = found(&network, &weights, &images);
    chosen.retain(|name, _| name == "first");
    let plain = snr(&Doubles::new());
    let copied: Vec<usize> = chosen["first"].iter().map(|double| double.of).collect();
    let live: Vec<usize> = (0..8).filter(|channel| !DEAD.contains(channel)).collect();
    // all other pairs of live channels
    let mut others = Vec::new();
    for (i, &a) in live.iter().enumerate() {
        for &b in &live[i + 1..] {
            let pairs = [Double { channel: DEAD[0], of: a }, Double { channel: DEAD[1], of: b }];
            if !(copied.contains(&a) && copied.contains(&b)) {
                others.push(snr(&Doubles::from([("first".to_owned(), pairs.to_vec())])));
            }
        }
    }
    let better = others.iter().filter(|&&other| other > snr(&chosen)).count();
    println!("{plain:.2} dB, {:.2} with {copied:?}, others {others:.2?}", snr(&chosen));
    assert!(snr(&chosen) > plain + 0.3, "{plain} {}", snr(&chosen));
    assert!(better <= others.len() / 4, "{better} of {} other pairs are better", others.len());
}

#[test]
fn a_network_is_widened_by_what_is_allowed_and_loses_less() {
    let (network, weights, images) = with_dead_channels("relu");
    let device = device("flex").unwrap();
    let peaks = span(&network, &weights, &images, &device).unwrap().peaks;
    let judge = Judge::new(&network, &weights, &images).unwrap();
    let macs = |network: &Network| -> u64 {
        network.nodes().unwrap().iter().map(|node| node.op.macs(node.input(), node.output)).sum()
    };
    let before = nets::in_tract(&network, &weights, &images);
    let mut signal_to_noise = Vec::new();
    for widen in [0.0, 0.3, 1.0] {
        let doubles = doubles(&network, &weights, &peaks, &images, widen, &device).unwrap();
        let adjustments = Adjustments { doubles, ..Adjustments::default() };
        let (wide, doubled) = adjustments.equalized(&network, &weights).unwrap();
        let grown = macs(&wide) as f64 / macs(&network) as f64 - 1.0;
        assert!(grown >= 0.5 * widen && grown <= widen, "{widen} {grown}");
        let after = nets::in_tract(&wide, &doubled, &images);
        let largest = before.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        for (a, b) in before.iter().zip(&after) {
            assert!((a - b).abs() <= 2e-5 * largest, "{widen}: {a} {b}");
        }
        let calibration = Calibration::observe(&wide, &doubled, &images, &device).unwrap();
        let quantized = quantize(&wide, &doubled, &calibration, &images.labels).unwrap();
        signal_to_noise.push(judge.judge(&quantized).unwrap().snr_db.unwrap());
        // and what its channels stand for is told
        for (name, (of, channels)) in adjustments.channels(&network).unwrap() {
            let node = |network: &Network| network.nodes().unwrap().into_iter().find(|node| node.name == name).unwrap();
            assert_eq!(node(&wide).output.c as usize * of, node(&network).output.c as usize * channels.len(), "{name}");
        }
    }
    assert!(signal_to_noise[2] > signal_to_noise[0], "{signal_to_noise:?}");
}

#[test]
fn doubles_of_other_networks_are_refused() {
    let (network, weights, _) = with_dead_channels("relu6");
    let refused = |name: &str, pairs: &[(usize, usize)]| {
        let pairs = pairs.iter().map(|&(channel, of)| Double { channel, of }).collect();
        doubled(&network, &weights, &Doubles::from([(name.to_owned(), pairs)])).unwrap_err().to_string()
    };
    assert!(refused("depthwise", &[(2, 1)]).contains("'depthwise' cannot be doubled"));
    for pairs in
        [&[(2, 8)][..], &[(9, 1)], &[(8, 1), (8, 3)], &[(8, 8)], &[(2, 2)], &[(2, 1), (2, 3)], &[(2, 5), (5, 1)]]
    {
        assert!(refused("first", pairs).contains("a dead or an added channel and a live one of its 8"), "{pairs:?}");
    }
}
