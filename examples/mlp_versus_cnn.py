"""The chapter's question, "When to use CNNs vs MLPs": same data, same budget, and then the test images move two pixels.

The CNN is LeNet-5, which has fewer parameters than the MLP. Pooling alone makes neither model indifferent to where the
digit stands; but shown moved images in training, the CNN learns them, as its filters serve every position, and the MLP
hardly does.

Run it with `python examples/mlp_versus_cnn.py`; `--mnist FOLDER` takes MNIST instead of the digits in the package.
"""

import argparse
from typing import NamedTuple

import numpy as np

from gpucnn import data, layers, models, optim, training


class Result(NamedTuple):
    """One contender's line in the table."""

    name: str
    parameters: int
    accuracy: float
    moved_accuracy: float


def pad(dataset: data.ArrayDataset, border: int) -> data.ArrayDataset:
    """The images with `border` dark pixels on each side."""
    images, labels = dataset[np.arange(len(dataset))]
    return data.ArrayDataset(np.pad(images, ((0, 0), (0, 0), (border, border), (border, border))), labels)


def move(dataset: data.ArrayDataset, pixels: int) -> data.ArrayDataset:
    """The images moved down and to the right."""
    images, labels = dataset[np.arange(len(dataset))]
    return data.ArrayDataset(
        np.pad(images, ((0, 0), (0, 0), (pixels, 0), (pixels, 0)))[:, :, :-pixels, :-pixels], labels
    )


def compare(splits: data.Splits, epochs: int, seed: int = 0) -> list[Result]:
    """Train each model on the same batches for as many epochs, without and with moved images, and measure it."""
    results = []
    for moved in (False, True):
        # LeNet-5 takes 32x32: the same images with two dark pixels around.
        contenders: list[tuple[str, layers.Layer, int]] = [
            ("MLP 784-100-10", models.MLP(seed=seed), 0),
            ("LeNet-5", models.LeNet5(seed=seed), 2),
        ]
        for name, model, border in contenders:
            augment = data.RandomShift(2) if moved else None
            train_set = pad(splits.train, border)
            train_loader = data.DataLoader(train_set, batch_size=64, shuffle=True, seed=seed, augment=augment)
            test_loader = data.DataLoader(pad(splits.test, border), batch_size=256)
            moved_loader = data.DataLoader(pad(move(splits.test, 2), border), batch_size=256)
            optimizer = optim.Adam(model.parameters())
            schedule = optim.one_cycle(0.003, epochs * len(train_loader))
            training.Trainer(model, optimizer, train_loader, test_loader, schedule).fit(epochs)
            accuracies = [training.evaluate(model, loader).accuracy for loader in (test_loader, moved_loader)]
            label = f"{name}, moved images in training" if moved else name
            results.append(Result(label, model.parameter_count(), *accuracies))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", metavar="FOLDER", help="use MNIST from this folder")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    splits = data.load("mnist" if options.mnist else "digits", options.mnist, image_size=28)
    print(f"{'model':<41} {'parameters':>10} {'accuracy':>9} {'moved by 2 pixels':>18}")
    for result in compare(splits, options.epochs):
        print(f"{result.name:<41} {result.parameters:>10,} {result.accuracy:>9.4f} {result.moved_accuracy:>18.4f}")


if __name__ == "__main__":
    main()
