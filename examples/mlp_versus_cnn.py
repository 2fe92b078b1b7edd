"""The chapter's question, "When to use CNNs vs MLPs": same data, same budget, and then the test images move two pixels.

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
    shifted_accuracy: float


def shift(dataset: data.ArrayDataset, pixels: int) -> data.ArrayDataset:
    """The images as the model sees them, moved `pixels` down and to the right."""
    images, labels = dataset[np.arange(len(dataset))]
    moved = np.zeros_like(images)
    moved[:, :, pixels:, pixels:] = images[:, :, :-pixels, :-pixels]
    return data.ArrayDataset(moved, labels)


def compare(splits: data.Splits, epochs: int, seed: int = 0) -> list[Result]:
    """Train both models on the same batches, without augmentation, and measure them."""
    results = []
    contenders: list[tuple[str, layers.Layer]] = [
        ("MLP 784-100-10", models.MLP(seed=seed)),
        ("SimpleCNN", models.SimpleCNN(seed=seed)),
    ]
    for name, model in contenders:
        train_loader = data.DataLoader(splits.train, batch_size=64, shuffle=True, seed=seed)
        test_loader = data.DataLoader(splits.test, batch_size=256)
        optimizer = optim.Adam(model.parameters())
        schedule = optim.one_cycle(0.003, epochs * len(train_loader))
        training.Trainer(model, optimizer, train_loader, test_loader, schedule).fit(epochs)
        moved_loader = data.DataLoader(shift(splits.test, 2), batch_size=256)
        plain, moved = (training.evaluate(model, loader).accuracy for loader in (test_loader, moved_loader))
        results.append(Result(name, model.parameter_count(), plain, moved))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", metavar="FOLDER", help="use MNIST from this folder")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    splits = data.load("mnist" if options.mnist else "digits", options.mnist, image_size=28)
    print(f"{'model':<15} {'parameters':>10} {'accuracy':>9} {'moved by 2 pixels':>18}")
    for result in compare(splits, options.epochs):
        print(f"{result.name:<15} {result.parameters:>10,} {result.accuracy:>9.4f} {result.shifted_accuracy:>18.4f}")


if __name__ == "__main__":
    main()
