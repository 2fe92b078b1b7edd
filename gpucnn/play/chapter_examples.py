"""The numbers that the chapter works out by hand, as tiny networks for the page."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from gpucnn.data import Preprocess
from gpucnn.layers import Conv2d, Layer, MaxPool2d
from gpucnn.play.browser_graph import browser_graph


class Example(NamedTuple):
    """An image of small numbers, and the one layer that the chapter shows it to."""

    title: str
    about: str
    image: np.ndarray
    """Bytes (1, S, S)."""
    layer: Layer

    def model(self) -> dict[str, Any]:
        """It as network.js takes it, with what the page wants to know of a run's model, too."""
        _, size, _ = self.image.shape
        return {
            **browser_graph(self.layer, (1, *self.image.shape)),
            "name": self.title,
            "class_names": [],
            "preprocess": asdict(Preprocess(1, size, size, full_scale=1, fit="pad")),
            "is_light_on_dark": False,
        }


def chapter_examples() -> list[Example]:
    """The convolutions and the max pooling of chapter 5 that are worked out number by number."""
    return [
        Example(
            "Sharpening, by hand",
            "The chapter's image of 1 to 25 and its sharpening filter: 7 and 13 are to be found among the outputs.",
            _counted_up(5),
            _filter([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
        ),
        Example(
            "Edges, by hand",
            "The chapter's image of 1 to 16 and its filter for vertical edges: each step to the right is as high as the next.",
            _counted_up(4),
            _filter([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]),
        ),
        Example(
            "Max pooling, by hand",
            "The chapter's map of 4x4: of each 2x2 numbers the largest stays, 7, 8, 15 and 16.",
            np.array([[[1, 3, 2, 4], [5, 7, 6, 8], [9, 11, 10, 12], [13, 15, 14, 16]]], np.uint8),
            MaxPool2d(2),
        ),
    ]


def _counted_up(size: int) -> np.ndarray:
    return np.arange(1, size * size + 1, dtype=np.uint8).reshape(1, size, size)


def _filter(kernel: Sequence[Sequence[int]]) -> Conv2d:
    layer = Conv2d(1, 1, len(kernel), bias=False)
    layer.load_state_dict({"weight": np.array([[kernel]], np.float32)})
    return layer.eval()
