"""Which number is the first that is not finite."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.backend import to_host
from gpucnn.diagnosis.checked_step import CheckedStep, run_checked, sample_text
from gpucnn.errors import ShapeError
from tests.backends import Backend
from tests.training.small_run import small_model, small_set

IMAGES, LABELS = small_set().images, small_set().labels


def fault_of(checked: CheckedStep) -> tuple[str, tuple[int, ...], str]:
    fault = checked.fault()
    assert fault is not None
    return fault.place, fault.rows, fault.fix


def test_a_step_without_fault_is_the_step_itself(backend: Backend) -> None:
    """To the bit, with fused layers or not; and the model is as it was before."""
    images, labels = backend.array(IMAGES), backend.array(LABELS)
    plain, watched = small_model().to(backend.device_name), small_model().to(backend.device_name)
    loss = F.cross_entropy(plain(Tensor(images)), labels, label_smoothing=0.1)
    loss.backward()
    state = watched.state_dict()
    checked = run_checked(watched, images, labels, 0.1)
    assert checked.fault() is None
    assert checked.loss == loss.item()
    for path, parameter in plain.named_parameters():
        found = dict(watched.named_parameters())[path].grad
        assert to_host(found).tobytes() == to_host(parameter.grad).tobytes(), path
    assert [output.path for output in checked.outputs] == ["0", "1", "2", "3", "4", "5", ""]
    assert list(checked.gradients) == ["5.bias", "5.weight", "1.bias", "1.weight", "0.bias", "0.weight"]
    after = watched.state_dict()
    assert all(after[name].tobytes() == array.tobytes() for name, array in state.items()), "running statistics"
    assert watched[4].calls == 0
    assert not any(layer.has_hooks for _, layer in watched.named_layers())
    assert run_checked(watched, images, labels, 0.1) == checked


def test_an_image_with_a_nan() -> None:
    images = IMAGES.copy()
    images[[3, 9], 0, 1, 2] = np.nan, np.inf
    place, rows, fix = fault_of(run_checked(small_model(), images, LABELS))
    assert place == "the output of 0 (Conv2d)"
    assert rows == (3, 9)
    assert fix.startswith("the images have NaN or infinite pixels: mend or leave out these samples")


def test_numbers_that_grow_too_large() -> None:
    model = small_model()
    model[5].weight.assign(np.full((3, 8), 3e38))
    model.eval()
    place, rows, fix = fault_of(run_checked(model, IMAGES, LABELS))
    assert place == "the output of 5 (Linear)"
    assert rows
    assert fix.startswith("the numbers have grown too large: lower the learning rate, or clip gradients (clip_norm)")


def test_a_weight_that_is_infinite() -> None:
    model = small_model()
    model[0].bias.assign([np.inf, 0])
    place, rows, fix = fault_of(run_checked(model, IMAGES, LABELS))
    assert (place, len(rows)) == ("the output of 0 (Conv2d)", len(IMAGES))
    assert "weights were not finite before this step" in fix


def test_a_model_s_own_arithmetic_is_the_model_s() -> None:
    """Every inner layer's output is finite."""

    class Dividing(layers.Layer):
        def __init__(self) -> None:
            self.inner = layers.Sequential(layers.Flatten(), layers.Linear(16, 3))

        def forward(self, x: Any) -> Tensor:
            return self.inner(x) / 0.0

    model = layers.Sequential(Dividing())
    place, _, fix = fault_of(run_checked(model, IMAGES, LABELS))
    assert place == "the output of 0 (Dividing)"
    assert fix.startswith("no number is large there: see what the layer, or a hook on it, computes")


def test_the_first_gradient_in_the_order_of_the_backward_pass() -> None:
    """The root of 0 is finite, its slope is not: layers behind it have finite gradients."""
    model = layers.Sequential(
        layers.Flatten(), layers.Linear(16, 4), layers.Lambda(lambda x: (x * 0.0) ** 0.5), layers.Linear(4, 3)
    )
    checked = run_checked(model, IMAGES, LABELS)
    fault = checked.fault()
    assert fault is not None
    assert (fault.place, fault.rows) == ("the gradient of 1.bias", ())
    assert fault.facts[0].startswith("the gradient ")
    assert fault.facts[2] == "every output is finite"
    assert checked.gradients["3.weight"].finite


def test_the_loss_itself(gpu: Backend) -> None:
    """Labels on a GPU are not looked at before."""
    labels = LABELS.copy()
    labels[2] = 3
    model = small_model().to(gpu.device_name)
    place, _, fix = fault_of(run_checked(model, gpu.array(IMAGES), gpu.array(labels)))
    assert place == "the loss itself"
    assert fix == "see that the labels are from 0 to the number of the model's outputs - 1"


def test_layers_that_are_shared_and_layers_that_compute_twice() -> None:
    shared = layers.Linear(16, 16)
    model = layers.Sequential(layers.Flatten(), shared, layers.ReLU(), shared, layers.Checkpoint(layers.Linear(16, 3)))
    checked = run_checked(model, IMAGES, LABELS)
    assert [output.path for output in checked.outputs] == ["0", "1", "2", "1", "4.block", "4", ""]
    assert set(checked.gradients) == {"1.weight", "1.bias", "4.block.weight", "4.block.bias"}


def test_an_error_leaves_no_hook() -> None:
    model = small_model()
    with pytest.raises(ShapeError):
        run_checked(model, IMAGES[:, :, :2], LABELS)
    assert not any(layer.has_hooks for _, layer in model.named_layers())


def test_the_table_has_a_line_for_everything() -> None:
    lines = run_checked(small_model(), IMAGES, LABELS).table()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "images", "0 (Conv2d) output", "1 (BatchNorm2d) output", "2 (ReLU) output", "3 (Flatten) output",
        "4 (Dropout) output", "5 (Linear) output", "Sequential output", "loss", "5.bias gradient", "5.weight gradient",
        "1.bias gradient", "1.weight gradient", "0.bias gradient", "0.weight gradient",
    ]  # fmt: skip


def test_samples_are_named() -> None:
    assert sample_text([1, 2], [7, 8, 9]) == "samples affected first: 8, 9"
    assert sample_text([0, 1], [7, 8]) == "samples affected first: all 2 of the batch: 7, 8"
    assert sample_text(range(10), range(20, 32)) == "samples affected first: 20, 21, 22, 23, 24, 25, 26, 27 and 2 more"
