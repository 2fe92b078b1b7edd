"""A network as one of scikit-learn's classifiers: a grid of models and learning rates on its 1,797 digits, in two processes.

python examples/grid_search.py            # needs pip install ".[sklearn]"
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from gpucnn import ImageClassifier

GRID = {"model": ["mlp", "lenet5"], "lr": [0.001, 0.003, 0.01]}


def search(images: np.ndarray, labels: np.ndarray, epochs: int) -> GridSearchCV:
    """Each pair of the grid, trained three times and measured on the third of the images that it has not seen."""
    classifier = ImageClassifier(epochs=epochs, device="cpu", seed=0)
    return GridSearchCV(classifier, GRID, cv=3, n_jobs=2).fit(images, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6, help="passes over the images of each training (default: 6)")
    parser.add_argument("--limit", type=int, help="take only this many of the digits (default: all)")
    given = parser.parse_args()
    digits = load_digits()
    images, labels = digits.images[: given.limit], digits.target[: given.limit]  # (N, 8, 8), from 0 to 16
    seen, unseen, seen_labels, unseen_labels = train_test_split(images, labels, random_state=0, stratify=labels)

    found = search(seen, seen_labels, given.epochs)
    results = found.cv_results_
    for parameters, mean, deviation in zip(
        results["params"], results["mean_test_score"], results["std_test_score"], strict=True
    ):
        print(f"{parameters['model']:8} lr {parameters['lr']:<6} accuracy {mean:.4f} +- {deviation:.4f}")
    print(
        f"best: {found.best_params_}; {found.score(unseen, unseen_labels):.4f} on {len(unseen)} digits that no training has seen"
    )


if __name__ == "__main__":
    main()
