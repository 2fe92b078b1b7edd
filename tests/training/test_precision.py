"""Training in bf16: LeNet-5's steps against NumPy that rounds in the stated places; a run, which keeps its precision; GPUs, which refuse it."""

import functools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from gpucnn import data, load, models, no_grad, optim
from gpucnn import functions as F
from gpucnn.backend import precision
from gpucnn.cli.main import main
from gpucnn.errors import ArgumentError
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.training import RunConfig, RunFolder, Trainer, prepare
from tests.backends import Backend, host
from tests.runs.tiny_run import TINY, tiny_names

LR, MOMENTUM = 0.05, 0.9
NAMES = ("conv1", "conv2", "fc1", "fc2", "output")
PLACES = ("images", "weights", "activations", "gradients")
"""Where bf16 rounds."""


def bf16(values: np.ndarray) -> np.ndarray:
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.rint(mantissas * 256), exponents - 8)


def windows(images: np.ndarray, size: int, stride: int = 1) -> np.ndarray:
    """(N, C, H, W) to (N, C, OH, OW, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


def correlated(seen: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Windows (N, C, OH, OW, R, S) with filters (O, C, R, S): (N, O, OH, OW)."""
    return np.moveaxis(np.tensordot(seen, filters, axes=((1, 4, 5), (1, 2, 3))), -1, 1)


class Reference:
    """LeNet-5 with SGD and momentum, in float64, of NumPy alone. It rounds to bfloat16 in these `places`."""

    def __init__(self, parameters: dict[str, np.ndarray], places: Iterable[str]) -> None:
        self.parameters = {name: value.astype(float) for name, value in parameters.items()}
        self.velocity = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        self.places = set(places)
        self.gradients: dict[str, np.ndarray] = {}

    def rounded(self, place: str, values: np.ndarray) -> np.ndarray:
        return bf16(values) if place in self.places else values

    def step(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """One step; the loss and the logits."""
        keep, own = self.rounded, self.parameters
        weights = {name: keep("weights", own[f"{name}.weight"]) for name in NAMES}
        x = keep("images", images.astype(float))
        inputs, outputs, winners = {}, {}, {}
        for name in NAMES:
            if name.startswith("conv"):
                inputs[name] = x
                sums = correlated(windows(x, 5), weights[name])
                maps = outputs[name] = keep("activations", np.maximum(sums + own[f"{name}.bias"][:, None, None], 0))
                squares = windows(maps, 2, 2).reshape(*maps.shape[:2], maps.shape[2] // 2, maps.shape[3] // 2, 4)
                winners[name] = squares.argmax(axis=-1)
                x = squares.max(axis=-1)
            else:
                inputs[name] = x = x.reshape(len(x), -1)
                sums = x @ weights[name].T + own[f"{name}.bias"]
                x = outputs[name] = keep("activations", sums if name == "output" else np.maximum(sums, 0))
        logits, count = x, len(x)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
        loss = -np.log(shares[np.arange(count), labels]).mean()
        gradient = shares.copy()
        gradient[np.arange(count), labels] -= 1
        gradient = keep("gradients", gradient / count)
        for name in reversed(NAMES):
            if name.startswith("conv"):
                maps = outputs[name]
                spread = np.zeros((*winners[name].shape, 4))
                below = gradient.reshape(winners[name].shape)
                np.put_along_axis(spread, winners[name][..., None], below[..., None], axis=-1)
                whole = spread.reshape(*below.shape, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(maps.shape)
                passed = np.where(maps > 0, whole, 0)
                seen = windows(inputs[name], 5)
                self.gradients[f"{name}.weight"] = np.tensordot(passed, seen, axes=((0, 2, 3), (0, 2, 3)))
                self.gradients[f"{name}.bias"] = passed.sum(axis=(0, 2, 3))
                padded = np.pad(passed, ((0, 0), (0, 0), (4, 4), (4, 4)))
                turned = weights[name][:, :, ::-1, ::-1].swapaxes(0, 1)
                gradient = keep("gradients", correlated(windows(padded, 5), turned))
            else:
                passed = gradient if name == "output" else np.where(outputs[name] > 0, gradient, 0)
                self.gradients[f"{name}.weight"] = passed.T @ inputs[name]
                self.gradients[f"{name}.bias"] = passed.sum(axis=0)
                gradient = keep("gradients", passed @ weights[name])
        for name, value in own.items():
            self.velocity[name] = MOMENTUM * self.velocity[name] + self.gradients[name]
            own[name] = (value - LR * self.velocity[name]).astype(np.float32).astype(float)
        return loss, logits


def difference(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest of the arrays' distances, each as a share of the array's norm."""
    assert set(found) == set(expected)
    shares = [np.linalg.norm(found[name] - one) / np.linalg.norm(one) for name, one in expected.items()]
    assert np.isfinite(shares).all()
    return float(max(shares))


def lenet5() -> tuple[Trainer, np.ndarray, np.ndarray]:
    """A trainer of it in bf16, and a batch whose pixels bfloat16 does not have."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((5, 1, 32, 32), np.float32), rng.integers(0, 10, 5)
    model = models.LeNet5(seed=5)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    loader = data.DataLoader(data.ArrayDataset(images, labels), 5)
    return Trainer(model, optimizer, loader, precision="bf16"), images, labels


@functools.cache
def gradients_without(place: str) -> dict[str, np.ndarray]:
    """Those of the first step if it rounded everywhere else."""
    trainer, images, labels = lenet5()
    reference = Reference({name: one.data for name, one in trainer.model.named_parameters()}, set(PLACES) - {place})
    reference.step(images, labels)
    return reference.gradients


def test_a_step_of_lenet5_rounds_in_the_stated_places_and_nowhere_else(backend: Backend) -> None:
    """Sums in another order may lie on the other side of a number halfway: so few do that each place shows, in the first step."""
    trainer, images, labels = lenet5()
    trainer.model.to(backend.device_name)
    start = {name: host(one.data).copy() for name, one in trainer.model.named_parameters()}
    reference = Reference(start, PLACES)
    logits = host(trainer.train_step(images, labels).data).copy()
    loss, expected_logits = reference.step(images, labels)
    assert trainer.loss is not None
    assert abs(trainer.loss.item() - loss) < 1e-5
    assert difference({"": logits}, {"": expected_logits}) < 1e-4
    gradients = {name: host(one.grad).copy() for name, one in trainer.model.named_parameters()}
    own = difference(gradients, reference.gradients)
    assert own < 5e-4
    for place in PLACES:
        assert difference(gradients, gradients_without(place)) > max(4 * own, 1e-3), f"with {place} as they are"
    trainer.train_step(images, labels)
    reference.step(images, labels)
    moved = {name: host(one.data) - start[name] for name, one in trainer.model.named_parameters()}
    assert difference(moved, {name: one - start[name] for name, one in reference.parameters.items()}) < 2e-3


def test_what_a_run_is_asked_later_is_computed_in_its_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny_names():
        ready = prepare(RunConfig(**{**TINY, "model": "mlp", "epochs": 1, "precision": "bf16"}))
        folder = RunFolder(tmp_path / "run")
        ready.finish(ready.trainer(ready.callbacks(folder)), folder)
        capsys.readouterr()
        assert main(["evaluate", str(folder.path), "--json", str(tmp_path / "found.json")]) == 0
        found = json.loads((tmp_path / "found.json").read_text())
        row = json.loads((folder.path / "metrics.jsonl").read_text())
        assert (found["loss"], found["accuracy"]) == (row["test_loss"], row["test_accuracy"])
        trained = load(folder.path)
        raw = ready.splits.test.images[:6]
        with precision("bf16"), no_grad():
            shares = F.softmax(trained.model(trained.preprocess(raw))).data
        assert [answers[0][1] for answers in trained.answers(raw, 1)] == shares.max(axis=1).tolist()
        assert shares.tolist() != F.softmax(trained.model(trained.preprocess(raw))).data.tolist()
        with pytest.raises(ArgumentError, match="precision must be"):
            TrainedRun(
                trained.model, trained.preprocess, trained.class_names, {"precision": 3}, trained.weights
            ).answers(raw, 1)
