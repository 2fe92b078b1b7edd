"""One step on one device, and the comparison of two."""

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn import layers, models
from gpucnn.autograd import Tensor
from gpucnn.backend import generator
from gpucnn.diagnosis.agreement import Agreement, compare, first_beyond, scientific, step_on, table
from gpucnn.errors import ArgumentError, DTypeError

INF = float("inf")


def net() -> layers.Layer:
    return layers.Sequential(layers.Conv2d(2, 3, 3), layers.ReLU(), layers.Flatten(), layers.Linear(48, 5), seed=4)


def test_a_step_holds_all_that_is_computed() -> None:
    found = step_on("cpu", net, (2, 6, 6), 5, batch_size=3, seed=9)
    assert list(found) == [
        "0 output", "1 output", "2 output", "3 output", "loss", "3.bias gradient", "3.weight gradient",
        "0.bias gradient", "0.weight gradient", "0.weight after the step", "0.bias after the step",
        "3.weight after the step", "3.bias after the step",
    ]  # fmt: skip
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert {type(array) for array in found.values()} == {np.ndarray}

    model = net()
    before = model.state_dict()
    images = generator(9, "agreement images").standard_normal((3, 2, 6, 6)).astype(np.float32)
    labels = generator(9, "agreement labels").integers(0, 5, 3)
    logits = model(Tensor(images))
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    np.testing.assert_array_equal(found["3 output"], logits.numpy())
    np.testing.assert_array_equal(found["loss"], loss.numpy())
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_array_equal(found[f"{path} gradient"], parameter.grad)
        after = before[path] - np.float32(0.05) * parameter.grad
        np.testing.assert_allclose(found[f"{path} after the step"], after, rtol=1e-6, atol=1e-8)
        assert (found[f"{path} after the step"] != before[path]).any()


def test_the_same_seed_is_the_same_step_and_the_dtype_is_as_asked() -> None:
    first, second = (step_on("cpu", net, (2, 6, 6), 5) for _ in range(2))
    assert {row.absolute for row in compare(first, second)} == {0.0}
    other = step_on("cpu", net, (2, 6, 6), 5, seed=1)
    assert all(row.relative > 1e-3 for row in compare(first, other)[:5])
    double = step_on("cpu", net, (2, 6, 6), 5, dtype="float64")
    assert {array.dtype for array in double.values()} == {np.dtype(np.float64)}
    assert {row.relative for row in compare(first, double)} == {INF}, "another dtype is no agreement"
    single = {name: array.astype(np.float32) for name, array in double.items()}
    assert 0 < max(row.relative for row in compare(first, single)) < 1e-5


def test_a_layer_that_is_called_twice_has_two_outputs() -> None:
    class Twice(layers.Layer):
        def __init__(self) -> None:
            self.fc = layers.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.fc(F.flatten(x)))

    names = list(step_on("cpu", Twice, (1, 2, 2), 4))
    assert names[:3] == ["fc output", "fc output 2", "loss"]


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="batch_size must be an int >= 1, got 0"):
        step_on("cpu", net, (2, 6, 6), 5, batch_size=0)
    with pytest.raises(ArgumentError, match="classes must be an int >= 1, got -1"):
        step_on("cpu", net, (2, 6, 6), -1)
    with pytest.raises(DTypeError, match="a model's dtype must be a float, got int32"):
        step_on("cpu", net, (2, 6, 6), 5, dtype="int32")
    with pytest.raises(ArgumentError, match="unknown device 'tpu'"):
        step_on("tpu", net, (2, 6, 6), 5)


def test_every_layer_and_parameter_of_a_model_is_there() -> None:
    model = models.LeNet5()
    found = step_on("cpu", models.LeNet5, (1, 32, 32), 10, batch_size=1)
    for path, _ in model.named_parameters():
        assert {f"{path} gradient", f"{path} after the step"} <= set(found)
    assert [name for name in found if name.endswith(" output")] == [
        f"{call.path} output" for call in model.trace((1, 1, 32, 32)).calls
    ]


def difference(reference: object, other: object) -> tuple[float, float]:
    (row,) = compare({"a": np.asarray(reference)}, {"a": np.asarray(other)})
    return row.absolute, row.relative


@pytest.mark.parametrize(
    ("reference", "other", "expected"),
    [
        ([1.0, -4.0], [1.5, -4.0], (0.5, 0.125)),
        ([1.0, -4.0], [1.0, -4.0], (0.0, 0.0)),
        ([0.0, 0.0], [0.0, 0.0], (0.0, 0.0)),
        ([0.0, 0.0], [0.0, 0.5], (0.5, INF)),
        ([1.0, np.nan], [1.25, np.nan], (0.25, 0.25)),
        ([1.0, np.inf], [1.0, np.inf], (0.0, 0.0)),
        ([1.0, np.inf], [1.0, -np.inf], (INF, INF)),
        ([1.0, np.nan], [1.0, np.inf], (INF, INF)),
        ([1.0, 2.0], [1.0, np.nan], (INF, INF)),
        ([1.0, np.inf], [1.0, 2.0], (INF, INF)),
        ([1.0, 2.0], [1.0, 2.0, 3.0], (INF, INF)),
        ([np.nan], [np.nan], (0.0, 0.0)),
        ([1e308], [-1e308], (INF, INF)),
        ([], [], (0.0, 0.0)),
    ],
)
def test_differences(reference: list[float], other: list[float], expected: tuple[float, float]) -> None:
    assert difference(reference, other) == expected


def test_small_floats_are_compared_in_double_precision() -> None:
    a, b = np.array([3e38], np.float32), np.array([-3e38], np.float32)
    absolute, relative = difference(a, b)
    assert absolute == pytest.approx(6e38)
    assert relative == 2


def test_what_only_one_has_is_no_agreement() -> None:
    one, two = {"a": np.ones(1), "b": np.ones(1)}, {"c": np.ones(1), "a": np.ones(1)}
    assert compare(one, two) == [Agreement("a", 0, 0), Agreement("b", INF, INF), Agreement("c", INF, INF)]


@pytest.mark.parametrize("kind", ["gradient", "after the step"])
def test_a_parameter_s_rounding_is_measured_against_its_layer(kind: str) -> None:
    """A bias before a batch norm has no gradient but rounding; that of another layer's weight does not hide a difference."""
    one = {f"conv.weight {kind}": np.array([0.5]), f"conv.bias {kind}": np.array([1e-8]), f"fc.bias {kind}": np.ones(1)}
    two = {**one, f"conv.bias {kind}": np.array([-1e-8]), f"fc.bias {kind}": np.array([1.25])}
    assert [row.relative for row in compare(one, two)] == [0, 4e-8, 0.25]


def test_a_model_whose_convolution_has_a_bias_before_a_batch_norm_agrees_in_both_precisions() -> None:
    def create() -> layers.Layer:
        normalized = layers.Conv2d(1, 3, 3), layers.BatchNorm2d(3), layers.ReLU()
        return layers.Sequential(*normalized, layers.Flatten(), layers.Linear(3 * 16, 4))

    single = step_on("cpu", create, (1, 6, 6), 4)
    double = step_on("cpu", create, (1, 6, 6), 4, dtype=np.float64)
    rows = compare({name: array.astype(np.float32) for name, array in double.items()}, single)
    assert first_beyond(rows, 1e-4) is None


def test_the_table_marks_what_is_beyond() -> None:
    rows = [Agreement("conv1 output", 1.25e-7, 3e-7), Agreement("loss", 0.0, 0.0), Agreement("x", 2.0, INF)]
    assert table(rows, 3e-7) == [
        "array          absolute   relative",
        "----------------------------------",
        "conv1 output    1.2e-07    3.0e-07",
        "loss                  0          0",
        "x               2.0e+00        inf  beyond 3e-07",
    ]
    assert first_beyond(rows, 3e-7) == rows[2]
    assert first_beyond(rows, 2.9e-7) == rows[0]
    assert first_beyond(rows[:2], 1e-4) is None
    assert (scientific(1e-4), scientific(2.5e-4), scientific(1.0)) == ("1e-04", "2.5e-04", "1e+00")
