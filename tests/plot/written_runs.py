"""Runs as `gpucnn train` writes them, without training: what curves are drawn of."""

import json
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "create": {"name": "mlp"}, "preprocess": {}, "class_names": ["a", "b"], "data": "digits", "label_smoothing": 0.1,
    "optimizer": "adam", "lr": 0.003,
}  # fmt: skip


def row(epoch: int, train: tuple[float, float], measured: tuple[float, float], part: str = "test") -> dict[str, Any]:
    return {
        "epoch": epoch, "train_loss": train[0], "train_accuracy": train[1], f"{part}_loss": measured[0],
        f"{part}_accuracy": measured[1], f"{part}_correct": 3, f"{part}_total": 4, "lr": 0.003,
    }  # fmt: skip


ROWS = [
    row(1, (2.25, 0.25), (1.5, 0.5)), row(2, (0.5, 0.75), (0.25, 0.9375)), row(3, (0.125, 0.875), (0.375, 0.9375)),
]  # fmt: skip


def write_run(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    """The folder of a run that broke off after these epochs."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **settings}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder
