"""Reports on arguments that are not what was expected: each is answered in words that say what to give instead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, data, layers, optim, training
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, DTypeError, GpucnnError, OutOfMemoryError, ShapeError
from tests.reports.report import Report

ROWS = Tensor(np.ones((2, 3), np.float32))
IMAGES = Tensor(np.ones((1, 1, 6, 6), np.float32))


def refused(error: type[GpucnnError], message: str, call: Callable[[], Any]) -> Callable[[Path], None]:
    """A check that `call` is answered with `error`, whose text holds `message`."""

    def check(folder: Path) -> None:
        with pytest.raises(error) as caught:
            call()
        assert message in str(caught.value)
        assert len(str(caught.value)) < 400

    return check


REPORTS = [
    Report("an array where a flag belongs", "named, with what a flag is", "",
           refused(ArgumentError, "sum: keepdims must be True or False, got an array (3,) of float64",
                   lambda: F.sum(ROWS, 1, np.ones(3)))),
    Report("a reshape to 65 axes", "refused: an array has 64", "",
           refused(ShapeError, "reshape: 65 axes is more than an array can have", lambda: F.reshape(ROWS, (2, 3, *[1] * 63)))),
    Report("padding of 2^40", "refused before memory is taken", "",
           refused(ArgumentError, "padding must be below 2^31, got 1099511627776",
                   lambda: F.conv2d(IMAGES, np.ones((1, 1, 3, 3)), padding=2**40))),
    Report("a result of more bytes than can be counted", "refused with its shape", "",
           refused(ShapeError, "adaptive_avg_pool2d: a result (1, 1, 2000000000, 2000000000) is more than an array can have",
                   lambda: F.adaptive_avg_pool2d(IMAGES, 2 * 10**9))),
    Report("a result that no machine has memory for", "the function and the bytes are named", "",
           refused(OutOfMemoryError, "max_unpool2d: out of memory: Unable to allocate",
                   lambda: F.max_unpool2d(IMAGES, np.zeros((1, 1, 6, 6), int), 1, output_size=(10**6, 10**9)))),
    Report("an int of 5,000 digits", "the message leaves them out", "python/cpython#95778",
           refused(ShapeError, "axis must name axes of a 2-dimensional tensor, each once, got a very large number",
                   lambda: F.sum(ROWS, 10**5000))),
    Report("a large array where a text belongs", "the message tells its shape, not its numbers", "",
           refused(ArgumentError, 'reduction must be "mean", "sum" or "none", got an array (500, 500) of float64',
                   lambda: F.mse_loss(ROWS, ROWS, reduction=np.ones((500, 500))))),  # type: ignore[arg-type]
    Report("a number beyond float32 in a list", "refused, with the dtype that holds it", "",
           refused(DTypeError, "expected numbers that float32 can hold, got 1e+300; give an array of float64",
                   lambda: F.exp([1e300]))),
    Report("floats of 80 bits", "refused, with the fix", "",
           refused(DTypeError, "expected floats of at most 64 bits, got", lambda: F.exp(np.ones(3, np.longdouble)))),
    Report("a list that is no data set", "it is told what a data set is", "",
           refused(ArgumentError, "DataLoader: expected a data set, e.g. data.ArrayDataset(images, labels), got [1, 2], of which the "
                   "first is no (image, label)", lambda: data.DataLoader([1, 2]))),  # type: ignore[arg-type]
    Report("a schedule that is a number", "refused when the trainer is made, not at the first step", "",
           refused(ArgumentError, "Trainer: schedule must be a function from the step to its learning rate",
                   lambda: training.Trainer(*_trainer_parts(), schedule=0.1))),  # type: ignore[arg-type]
    Report("a parameter of another dtype than floats", "refused when it is made", "",
           refused(DTypeError, "Parameter: dtype must be a float, got int64",
                   lambda: layers.Parameter((2,), layers.initializer("zeros"), "int64"))),
    Report("a path with a NUL in it", "refused as a path", "",
           refused(ArgumentError, "folder must be a path, got 'a\\x00b'", lambda: data.load("mnist", "a\0b"))),
]  # fmt: skip


def _trainer_parts() -> tuple[layers.Layer, optim.Optimizer, data.DataLoader, None]:
    model = layers.Sequential(layers.Flatten(), layers.Linear(4, 2))
    loader = data.DataLoader(data.ArrayDataset(np.ones((2, 1, 2, 2), np.float32), np.array([0, 1])), 2)
    return model, optim.SGD(model.parameters()), loader, None
