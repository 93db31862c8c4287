"""Writes test/fixtures/digits-llama/held-out.json: the 400 images that the accuracies of reference.json were counted on.

    python3 scripts/golden-digits-held-out.py

needs NumPy and scikit-learn, or its digits.csv.gz (UCI's Optical Recognition of Handwritten Digits, test set; E. Alpaydin and
C. Kaynak, 1998, CC BY 4.0) as an argument. The split is torch.randperm(1797) of seed 1, made here by its own recipe from the same
Mersenne Twister: the first 400 are held out. That it is this one shows in reference.json, whose accuracies it gives to the
image, and in the second moments of the 256 images after them, which are those of the fine-tune's first layer.

A prompt is token 27 and the 64 pixels, of 0 to 16; digit d is answered by token 17 + d, the likeliest of those ten. An image is a
line of 64 characters, a pixel each, to base 17.
"""

import gzip
import json
import sys

import numpy as np

TARGET = "test/fixtures/digits-llama/held-out.json"
SEED = 1
HELD_OUT = 400
CHARACTERS = "0123456789abcdefg"


def randperm(count, seed):
    """torch.randperm on the CPU (aten/src/ATen/native/TensorFactories.cpp): Fisher and Yates, by remainders."""
    randoms = np.random.RandomState(seed).randint(0, 2**32, size=count, dtype=np.uint32)
    order = list(range(count))
    for i in range(count - 1):
        other = i + int(randoms[i]) % (count - i)
        order[i], order[other] = order[other], order[i]
    return order


def read():
    if len(sys.argv) > 1:
        with gzip.open(sys.argv[1]) as file:
            data = np.loadtxt(file, delimiter=",").astype(int)
        return data[:, :64], data[:, 64]
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data.astype(int), digits.target


def main() -> None:
    images, answers = read()
    chosen = randperm(len(images), SEED)[:HELD_OUT]
    lines = ["".join(CHARACTERS[pixel] for pixel in images[i]) for i in chosen]
    document = {
        "source": "UCI Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998), CC BY 4.0, by scikit-learn",
        "answers": "".join(str(answers[i]) for i in chosen),
        "images": lines,
    }
    with open(TARGET, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


main()
