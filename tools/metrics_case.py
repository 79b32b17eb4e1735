"""Makes tests/data/metrics.json: scores of a small made-up classifier and what scikit-learn says of them.

usage: python tools/metrics_case.py > tests/data/metrics.json      (needs: pip install scikit-learn)

60 images of 7 classes; class 5 is never guessed, class 6 neither occurs nor is guessed. Top-5 of 7 classes, calibration with 15 bins.
"""
import json

import numpy as np
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.metrics import (accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support,
                             top_k_accuracy_score)

N, CLASSES, SEED, BINS, K = 60, 7, 3, 15, 5


def main():
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, CLASSES - 1, N)
    logits = rng.normal(0, 1.5, (N, CLASSES))
    logits[np.arange(N), targets] += 1.5
    logits[:, 5] -= 6
    logits[:, 6] -= 8
    logits = np.round(logits, 3).astype(np.float32)
    e = np.exp(logits.astype(np.float64))
    p = e / e.sum(1, keepdims=True)
    guesses = p.argmax(1)
    labels = list(range(CLASSES))
    assert 5 not in guesses and 6 not in guesses and 6 not in targets

    precision, recall, f1, support = precision_recall_fscore_support(targets, guesses, labels=labels, zero_division=0)
    # without `labels` scikit-learn averages over the classes that occur
    macro = precision_recall_fscore_support(targets, guesses, average="macro", zero_division=0)[:3]
    confidence, right = p.max(1), (guesses == targets).astype(int)
    accuracy_of_bin, confidence_of_bin = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence), minlength=BINS)
    gaps = np.abs(accuracy_of_bin - confidence_of_bin)
    case = {
        "source": f"scikit-learn {sklearn.__version__}, tools/metrics_case.py",
        "targets": targets.tolist(),
        "logits": [[round(float(v), 3) for v in row] for row in logits],
        "accuracy": accuracy_score(targets, guesses),
        "loss": log_loss(targets, p, labels=labels),
        "top_k": top_k_accuracy_score(targets, p, k=K, labels=labels),
        "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist(),
        "macro": list(macro),
        "confusion": confusion_matrix(targets, guesses, labels=labels).tolist(),
        "bins": counts.tolist(),
        "expected_error": float((counts[counts > 0] / N * gaps).sum()),
        "largest_error": float(gaps.max()),
    }
    print("{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()) + "\n}")


main()
