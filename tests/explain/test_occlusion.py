"""Occlusion against a loop that covers one place after the other."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, explain, layers
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host

IMAGE = np.random.default_rng(0).standard_normal((2, 7, 9)).astype(np.float32)


def net() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(2, 3, 3), layers.ReLU(), layers.Dropout(0.5), layers.Flatten(), layers.Linear(3 * 5 * 7, 4), seed=1
    )  # fmt: skip


def probability(model: layers.Layer, image: np.ndarray, label: int) -> float:
    logits = host(model(image[None]).array).astype(np.float64)[0]
    powers = np.exp(logits - logits.max())
    return float(powers[label] / powers.sum())


@pytest.mark.parametrize(
    ("size", "stride", "value", "rows", "columns"),
    [
        ((3, 2), (2, 2), 0.0, [0, 2, 4], [0, 2, 4, 6, 7]),
        (3, 3, 0.5, [0, 3, 4], [0, 3, 6]),
        (7, 1, 0.0, [0], [0, 1, 2]),
        (1, None, -1.0, range(7), range(9)),
        (None, None, 0.0, range(7), range(8)),  # 1 by 2
    ],
)
def test_each_pixel_has_the_mean_loss_of_the_patches_over_it(
    backend: Backend, size: Any, stride: Any, value: float, rows: Any, columns: Any
) -> None:
    model = net().to(backend.device_name)
    found = explain.occlusion(model, IMAGE, 3, size, stride, value)
    model.eval()
    height, width = (1, 2) if size is None else (size, size) if isinstance(size, int) else size
    whole = probability(model, IMAGE, 3)
    losses: dict[tuple[int, int], list[float]] = {place: [] for place in np.ndindex(7, 9)}
    for row in rows:
        for column in columns:
            covered = IMAGE.copy()
            covered[:, row : row + height, column : column + width] = value
            loss = whole - probability(model, covered, 3)
            for down in range(height):
                for right in range(width):
                    losses[row + down, column + right].append(loss)
    expected = np.reshape([np.mean(each) for each in losses.values()], (7, 9))
    np.testing.assert_allclose(found, expected, atol=2e-7)


class Pixels(layers.Layer):
    """Gives every pixel logits (x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return x * np.array([1.0, 0.0]).reshape(1, 2, 1, 1)


def test_of_a_model_of_pixels_it_is_the_mean_probability() -> None:
    image = np.zeros((1, 2, 2))
    image[0, 0, 1] = np.log(3)  # a probability of 3/4, where the others have 1/2
    expected = [[0, 0.25 / 4], [0, 0]]
    np.testing.assert_allclose(explain.occlusion(Pixels(), image, 0, 1), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, "occlusion: a patch of 8x8 is larger than the image, 7x9"),
        ({"size": 2, "stride": 3}, "occlusion: a stride of 3x3 leaves gaps between patches of 2x2; give a smaller one"),
        ({"size": 0}, r"occlusion: size must be an int >= 1 or a \(height, width\) pair of them, got 0"),
        ({"stride": "a"}, r"occlusion: stride must be an int >= 1 or a \(height, width\) pair of them, got 'a'"),
        ({"value": float("nan")}, "occlusion: value must be a finite number, got nan"),
        ({"label": 4}, "occlusion: label must be an int from 0 to 3, got 4"),
    ],
)
def test_what_will_not_do_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        explain.occlusion(net(), IMAGE, **{"label": 0, **options})
