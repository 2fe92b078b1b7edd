"""The rows of the page "Coming from PyTorch", and what their lines are run with."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

import gpucnn
from gpucnn import Tensor, autograd, backend, data, layers, models, optim, training
from gpucnn import functions as F

PAGE = Path(gpucnn.__file__).parent / "COMING_FROM_PYTORCH.md"
ROWS = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
"""What one writes with PyTorch, and here."""


class Mine:
    """A data set as a PyTorch script has it."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((3, 8, 8), index, np.float32), index % 2


def collate(samples: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """A batch, made by a function of one's own."""
    return np.stack([image for image, _ in samples]), np.array([label for _, label in samples])


generator = np.random.default_rng(0)
IMAGES, LOGITS = generator.random((2, 3, 8, 8), np.float32), generator.standard_normal((2, 5), np.float32)
LABELS = np.array([0, 3])


def names_here() -> dict[str, Any]:
    """What lines of gpucnn are run with."""
    net = layers.Sequential(layers.Conv2d(3, 4, 3), layers.ReLU(), layers.Conv2d(4, 2, 3))
    model = layers.Sequential(layers.Flatten(), layers.Linear(192, 5))
    return {
        "gpucnn": gpucnn, "Tensor": Tensor, "autograd": autograd, "backend": backend, "data": data, "layers": layers,
        "models": models, "optim": optim, "training": training, "F": F, "np": np, "OrderedDict": OrderedDict, "mine": Mine(),
        "collate": collate,
        "net": net, "model": model, "opt": optim.SGD(model.parameters(), lr=0.1), "array": np.ones(3, np.float32),
        "x": Tensor(IMAGES), "logits": Tensor(LOGITS), "labels": LABELS, "w": Tensor(np.ones(3, np.float32), requires_grad=True),
    }  # fmt: skip


def result_of(line: str, names: dict[str, Any]) -> Any:
    """The value of a line, or None of a statement."""
    try:
        code = compile(line, line, "eval")
    except SyntaxError:
        exec(line, names)
        return None
    return eval(code, names)
