"""Draw the loss and accuracy of runs, epoch by epoch, into a PNG file. Needs the extra `plot`.

Run it with `python examples/learning_curves.py curves.png RUN...`, where each RUN is a folder of `gpucnn train`.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure


def draw(runs: list[Path]) -> Figure:
    """Loss on the left, accuracy on the right, a colour a run: on its validation images if it has some, else on the test set."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        epochs = [row["epoch"] for row in rows]
        part = "val" if "val_loss" in rows[0] else "test"
        loss.plot(epochs, [row["train_loss"] for row in rows], f"C{number}--", label=f"{run.name}, training")
        loss.plot(epochs, [row[f"{part}_loss"] for row in rows], f"C{number}-", label=f"{run.name}, {part}")
        accuracy.plot(epochs, [row[f"{part}_accuracy"] for row in rows], f"C{number}-", label=f"{run.name}, {part}")
    loss.set(xlabel="epoch", ylabel="loss", yscale="log")
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    for axes in (loss, accuracy):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="the PNG file to write")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder of gpucnn train")
    options = parser.parse_args()
    draw(options.runs).savefig(options.image, dpi=120)
    print(f"wrote {options.image}")


if __name__ == "__main__":
    main()
