use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Scores and what scikit-learn says of them; `tools/metrics_case.py` made it.
const CASE: &str = include_str!("../../../tests/data/metrics.json");

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn counts(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| usize::try_from(v.as_u64().unwrap()).unwrap()).collect()
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn the_figures_are_those_of_scikit_learn() {
    let case: Value = serde_json::from_str(CASE).unwrap();
    let rows: Vec<Vec<f64>> = case["logits"].as_array().unwrap().iter().map(numbers).collect();
    let logits: Vec<f32> = rows.iter().flatten().map(|&v| v as f32).collect();
    let predictions = Predictions::from_logits(&logits, &counts(&case["targets"]), rows[0].len()).unwrap();
    let metrics = predictions.metrics();
    assert_eq!(metrics.top_k.k, 5);
    for (what, found) in [
        ("accuracy", metrics.accuracy),
        ("loss", metrics.loss),
        ("top_k", metrics.top_k.accuracy),
        ("expected_error", metrics.calibration.expected_error),
        ("largest_error", metrics.calibration.largest_error),
    ] {
        assert_close(found, case[what].as_f64().unwrap(), what);
    }
    for (what, of_class) in [
        ("precision", (|c| c.precision) as fn(&ClassMetrics) -> f64),
        ("recall", |c| c.recall),
        ("f1", |c| c.f1),
        ("support", |c| c.support as f64),
    ] {
        for (class, expected) in metrics.classes.iter().zip(numbers(&case[what])) {
            assert_close(of_class(class), expected, what);
        }
    }
    let Average { precision, recall, f1 } = metrics.macro_average;
    for (found, expected) in [precision, recall, f1].into_iter().zip(numbers(&case["macro"])) {
        assert_close(found, expected, "macro average");
    }
    let confusion: Vec<Vec<usize>> = case["confusion"].as_array().unwrap().iter().map(counts).collect();
    assert_eq!(metrics.confusion, confusion);
    let bins: Vec<usize> = metrics.calibration.bins.iter().map(|bin| bin.images).collect();
    assert_eq!(bins, counts(&case["bins"]));
}

#[test]
fn int8_scores_are_steps_of_1_in_256() {
    // three images of class 0: sure and right, undecided (the first wins), sure and wrong
    let scores = [127, -128, -128, 0, 0, -128, -128, 127, -128];
    let predictions = Predictions::from_scores(&scores, &[0, 0, 0], 3).unwrap();
    assert_eq!([0, 1, 2].map(|i| predictions.guess(i)), [0, 0, 1]);
    assert_eq!([0, 1, 2].map(|i| predictions.confidence(i)), [255.0 / 256.0, 0.5, 255.0 / 256.0]);
    let expected = [(256.0_f64 / 255.0).ln(), 2.0_f64.ln(), 512.0_f64.ln()];
    for (found, expected) in predictions.losses.iter().zip(expected) {
        assert_close(*found, expected, "loss");
    }
    assert_eq!(predictions.surest_mistakes(9), [2]);
    assert_eq!(predictions.highest_losses(2), [2, 1]);
    let metrics = predictions.metrics();
    // k is one less than the classes; the third image's class comes second, as the first of two equal ones
    assert_eq!((metrics.top_k.k, metrics.top_k.accuracy), (2, 1.0));
    assert_eq!(metrics.most_confused(9), [Confused { target: 0, guess: 1, count: 1 }]);
}

#[test]
fn a_confidence_on_an_edge_belongs_to_the_bin_below() {
    // 0.2 = 3/15, so the third bin; 1 the last one
    let predictions = Predictions {
        classes: 5,
        probabilities: [[0.2; 5], [1.0, 0.0, 0.0, 0.0, 0.0]].concat(),
        losses: vec![0.0; 2],
        targets: vec![0, 0],
    };
    let bins = predictions.metrics().calibration.bins;
    let filled: Vec<usize> = (0..CALIBRATION_BINS).filter(|&bin| bins[bin].images > 0).collect();
    assert_eq!(filled, [2, 14]);
}

#[test]
fn scores_that_do_not_fit_their_images_are_refused() {
    assert!(Predictions::from_scores(&[], &[], 3).is_err());
    assert!(Predictions::from_scores(&[0, 0], &[0], 3).is_err());
    assert!(Predictions::from_scores(&[0, 0, 0], &[3], 3).is_err());
    assert!(Predictions::from_logits(&[f32::NAN, 0.0], &[0], 2).is_err());
}

fn cases() -> impl Strategy<Value = (Vec<f32>, Vec<usize>, usize)> {
    (1_usize..8, 1_usize..40).prop_flat_map(|(classes, images)| {
        (
            prop::collection::vec(-20.0_f32..20.0, classes * images),
            prop::collection::vec(0..classes, images),
            Just(classes),
        )
    })
}

proptest! {
    #[test]
    fn figures_agree_with_each_other((logits, targets, classes) in cases()) {
        let predictions = Predictions::from_logits(&logits, &targets, classes).unwrap();
        let metrics = predictions.metrics();
        let total: usize = metrics.confusion.iter().flatten().sum();
        prop_assert_eq!(total, targets.len());
        // recall weighted by support is accuracy
        let weighted: f64 = metrics.classes.iter().map(|c| c.recall * c.support as f64).sum();
        prop_assert!((weighted / targets.len() as f64 - metrics.accuracy).abs() < 1e-9);
        prop_assert!(metrics.top_k.accuracy >= metrics.accuracy);
        for class in &metrics.classes {
            // a harmonic mean lies between its parts
            let (low, high) = (class.precision.min(class.recall), class.precision.max(class.recall));
            prop_assert!(class.f1 >= low - 1e-12 && class.f1 <= high + 1e-12);
        }
        let calibration = &metrics.calibration;
        prop_assert_eq!(calibration.bins.iter().map(|bin| bin.images).sum::<usize>(), targets.len());
        prop_assert!(calibration.expected_error <= calibration.largest_error + 1e-12);
        for bin in calibration.bins.iter().filter(|bin| bin.images > 0) {
            prop_assert!(bin.confidence > bin.from - 1e-12 && bin.confidence <= bin.to + 1e-12);
        }
        // an image moves all its figures with it
        let mistakes = predictions.surest_mistakes(usize::MAX);
        prop_assert_eq!(mistakes.len(), targets.len() - metrics.right);
        prop_assert!(mistakes.windows(2).all(|pair| predictions.confidence(pair[0]) >= predictions.confidence(pair[1])));
        // the training's own loss, from the same logits
        let score = crate::train::score(&logits, &targets);
        prop_assert!((score.loss - metrics.loss).abs() < 1e-5, "{} {}", score.loss, metrics.loss);
        prop_assert_eq!(score.accuracy, metrics.accuracy);
    }

    #[test]
    fn the_order_of_the_images_changes_nothing((logits, targets, classes) in cases()) {
        let forward = Predictions::from_logits(&logits, &targets, classes).unwrap().metrics();
        let turned: Vec<f32> = logits.chunks_exact(classes).rev().flatten().copied().collect();
        let targets: Vec<usize> = targets.into_iter().rev().collect();
        let backward = Predictions::from_logits(&turned, &targets, classes).unwrap().metrics();
        prop_assert_eq!(&forward.confusion, &backward.confusion);
        prop_assert_eq!(forward.classes, backward.classes);
        prop_assert!((forward.loss - backward.loss).abs() < 1e-9);
        prop_assert!((forward.calibration.expected_error - backward.calibration.expected_error).abs() < 1e-9);
    }
}
