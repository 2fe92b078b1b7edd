"""What tensors can do by themselves: methods, comparisons, NumPy's functions on them, and words for what they have not."""

import inspect
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, layers, no_grad
from gpucnn import functions as F
from gpucnn.autograd.torch_words import FUNCTIONS, KEYWORDS, TENSOR
from gpucnn.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GpucnnError,
    GradientError,
    KeywordError,
    ShapeError,
    UnknownNameError,
)
from gpucnn.functions.operators import METHODS
from tests.backends import Backend, host

VALUES = np.array([[3.0, 1.0, 3.0], [-2.0, 5.0, 0.5]])


def learned() -> Tensor:
    return Tensor(VALUES.copy(), requires_grad=True)


RESULTS: dict[str, tuple[Any, Any]] = {
    "abs": (lambda x: x.abs(), np.abs(VALUES)),
    "argmax": (lambda x: x.argmax(), 4),
    "argmax of rows": (lambda x: x.argmax(1), [0, 1]),
    "argmin of columns": (lambda x: x.argmin(axis=0), [1, 0, 1]),
    "argmin kept": (lambda x: x.argmin(-1, keepdims=True), [[1], [0]]),
    "argmax kept": (lambda x: x.argmax(keepdims=True), [[4]]),
    "astype": (lambda x: x.astype("int32"), [[3, 1, 3], [-2, 5, 0]]),
    "clip": (lambda x: x.clip(0, 3), [[3, 1, 3], [0, 3, 0.5]]),
    "clone": (lambda x: x.clone(), VALUES),
    "exp": (lambda x: x.exp(), np.exp(VALUES)),
    "expand_dims": (lambda x: x.expand_dims(1), VALUES[:, None]),
    "flatten": (lambda x: x.flatten(0), VALUES.ravel()),
    "log": (lambda x: (x * x).log(), np.log(VALUES**2)),
    "max": (lambda x: x.max(axis=1), [3, 5]),
    "mean": (lambda x: x.mean(0), [0.5, 3, 1.75]),
    "min": (lambda x: x.min(), -2),
    "sqrt": (lambda x: x.abs().sqrt(), np.sqrt(np.abs(VALUES))),
    "squeeze": (lambda x: x[:1].squeeze(), VALUES[0]),
    "sum": (lambda x: x.sum(1, keepdims=True), [[7], [3.5]]),
    "var": (lambda x: x.var(correction=0), VALUES.var()),
    "T": (lambda x: x.T, VALUES.T),
    "cpu": (lambda x: x.cpu(), VALUES),
}


@pytest.mark.parametrize("name", RESULTS)
def test_methods(backend: Backend, name: str) -> None:
    call, expected = RESULTS[name]
    result = call(backend.tensor(VALUES))
    assert isinstance(result, Tensor)
    assert result.dtype.kind == ("i" if name.startswith(("arg", "astype")) else "f")
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


def test_every_method_of_the_table_has_a_case() -> None:
    assert {name.partition(" ")[0] for name in RESULTS} - {"T", "cpu"} == set(METHODS)
    assert all(getattr(Tensor, name) is getattr(F, name) for name in METHODS)


def test_positions_among_equals_and_nans() -> None:
    assert F.argmax([1.0, np.nan, np.nan]).item() == 1
    assert F.argmin([1, 0, 0]).item() == 1
    assert F.argmax(np.zeros((2, 3)), 1).dtype == np.int64
    assert not learned().argmax().requires_grad
    for call, message in (
        (lambda: F.argmax(np.zeros((2, 0)), 1), "argmax: (2, 0) has no elements over axis 1 to choose from"),
        (lambda: F.argmin(np.zeros(3), 1), "argmin: axis must name axes of a 1-dimensional tensor, each once, got 1"),
        (lambda: F.argmax(np.zeros((2, 2)), (0, 1)), "argmax: axis must be an int or None, got (0, 1)"),
    ):
        with pytest.raises(ShapeError) as raised:
            call()
        assert str(raised.value) == message


def test_conversions() -> None:
    loss = Tensor(2.71828)
    assert f"{loss:.3f}" == "2.718"
    assert f"{loss}" == str(loss) == "Tensor(2.71828, dtype=float32)"
    assert (float(loss), int(loss), bool(loss)) == (pytest.approx(2.71828), 2, True)
    assert [10, 20, 30][Tensor([2])[0]] == 30  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        range(Tensor(2.0))  # type: ignore[arg-type]
    assert learned().tolist() == VALUES.tolist()
    assert loss.tolist() == pytest.approx(2.71828)
    assert [row.tolist() for row in learned()] == VALUES.tolist()
    with pytest.raises(ShapeError, match=r"item\(\) needs a tensor of one element"):
        f"{learned():.3f}"
    x = learned()
    assert x.astype("float64") is x
    half = x.astype(np.float16)
    half.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float64
    with pytest.raises(DTypeError, match="astype: dtype must be a float, e.g. 'float32', got 'text'"):
        x.astype("text")


def test_a_clone_has_memory_of_its_own() -> None:
    x = learned()
    y = x.clone()
    y.data[...] = 0
    (y * 2.0).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(x.numpy(), VALUES)


def test_leaves_and_what_they_may_become() -> None:
    x = Tensor(VALUES)
    assert x.is_leaf
    assert x.requires_grad_() is x
    assert x.requires_grad
    y = x * 2.0
    assert not y.is_leaf
    assert y.detach().is_leaf
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(GradientError, match=r"requires_grad_\(\) of what an operation made; take tensor\.detach\(\)"):
        y.requires_grad_(False)
    with pytest.raises(DTypeError, match="only float tensors have gradients, got int64"):
        Tensor([1]).requires_grad_()
    with pytest.raises(ArgumentError, match="requires_grad_: requires_grad must be True or False, got 'no'"):
        x.requires_grad_("no")  # type: ignore[arg-type]


COMPARISONS: dict[str, tuple[Any, Any]] = {
    "==": (lambda a, b: a == b, np.equal),
    "!=": (lambda a, b: a != b, np.not_equal),
    "<": (lambda a, b: a < b, np.less),
    "<=": (lambda a, b: a <= b, np.less_equal),
    ">": (lambda a, b: a > b, np.greater),
    ">=": (lambda a, b: a >= b, np.greater_equal),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_element_by_element(backend: Backend, name: str) -> None:
    compare, oracle = COMPARISONS[name]
    mine, others = backend.tensor(VALUES, True), np.array([3.0, 2.0, 0.5])
    expected = oracle(VALUES, others)
    for found in (compare(mine, backend.tensor(others)), compare(mine, others), compare(mine, others.tolist())):
        assert not isinstance(found, Tensor)
        np.testing.assert_array_equal(host(found), expected)
    np.testing.assert_array_equal(host(compare(others, mine)), oracle(others, VALUES))
    np.testing.assert_array_equal(host(compare(mine, 1)), oracle(VALUES, 1))
    np.testing.assert_array_equal(host(compare(np.float64(1), mine)), oracle(1, VALUES))


def test_an_accuracy_is_the_mean_of_a_comparison() -> None:
    logits, labels = learned(), np.array([0, 2])
    assert (logits.argmax(1) == labels).mean() == 0.5
    assert (labels == logits.argmax(1)).mean() == 0.5


def test_what_is_no_number_is_unlike_every_tensor() -> None:
    x = learned()
    assert (x == None) is False  # noqa: E711
    assert (x != "text") is True
    assert (x == object()) is False
    with pytest.raises(TypeError, match="not supported between"):
        x < "text"  # type: ignore[operator]  # noqa: B015
    with pytest.raises(ShapeError, match=r"equal: shapes \(2, 3\) and \(2,\) do not broadcast"):
        x == np.ones(2)  # noqa: B015


def test_tensors_are_keys_by_what_they_are() -> None:
    a, b = learned(), learned()
    assert len({a, b, a}) == 2
    assert {a: 1, b: 2}[b] == 2
    assert b in [a, b][1:]
    layer = layers.Linear(2, 2)
    assert len({*layer.parameters(), layer.weight}) == 2
    assert type(pickle.loads(pickle.dumps({"w": a}))["w"]) is Tensor


def test_numpy_s_functions() -> None:
    x, fixed = learned(), Tensor(VALUES)
    for function, options in (
        (np.mean, {}), (np.sum, {"axis": 1}), (np.max, {"axis": 0}), (np.squeeze, {}), (np.transpose, {}), (np.abs, {}), (np.sqrt, {}),
        (np.exp, {}), (np.expand_dims, {"axis": 0}),
    ):  # fmt: skip
        with np.errstate(invalid="ignore"):
            found, expected = function(x, **options), function(VALUES, **options)  # type: ignore[operator]
        assert isinstance(found, Tensor)
        assert found.requires_grad
        np.testing.assert_allclose(found.numpy(), expected)
    assert np.allclose(fixed, VALUES)
    assert np.linalg.norm(fixed) == pytest.approx(np.linalg.norm(VALUES))
    assert isinstance(np.concatenate([x, fixed]), Tensor)
    np.testing.assert_array_equal(np.sin(fixed), np.sin(VALUES))
    np.testing.assert_array_equal(np.isnan(x), np.isnan(VALUES))
    np.testing.assert_array_equal(np.stack([np.sin(fixed), np.asarray(fixed)])[1], VALUES)
    with pytest.raises(
        DTypeError, match=r"^np\.allclose has no gradient in gpucnn; use gpucnn\.functions, or tensor\.numpy"
    ):
        np.allclose(x, 1)  # type: ignore[arg-type]
    with pytest.raises(KeywordError, match="^var: correction, not ddof$"):
        x.var(ddof=1)  # type: ignore[call-arg]


def test_arrays_of_tensors_where_no_gradient_is_lost(backend: Backend) -> None:
    fixed, learns = backend.tensor(VALUES), backend.tensor(VALUES, True)
    with pytest.raises(
        DTypeError, match=r"its gradient would be lost; use tensor\.numpy\(\), or compute inside no_grad\(\)"
    ):
        np.asarray(learns)
    if not backend.on_cpu:
        with pytest.raises(DeviceError, match=r"does not become NumPy's array by itself; use tensor\.numpy\(\)"):
            np.asarray(fixed)
        return
    np.testing.assert_array_equal(np.asarray(fixed), VALUES)
    assert np.asarray(fixed, dtype="float32").dtype == np.float32
    assert np.array(fixed) is not fixed.data
    assert not np.shares_memory(np.array(fixed), fixed.data)
    assert np.shares_memory(np.asarray(fixed), fixed.data)
    with no_grad():
        np.testing.assert_array_equal(np.asarray(learns), VALUES)
    with pytest.raises(ValueError, match="do not become float32 without a copy"):
        np.array(fixed, dtype="float32", copy=False)


def test_arrays_are_shared_by_dlpack() -> None:
    fixed = Tensor(VALUES.copy())
    shared = np.from_dlpack(fixed)
    fixed.data[0, 0] = 9
    assert shared[0, 0] == 9
    back = gpucnn.from_dlpack(shared)
    assert back.data[0, 0] == 9
    assert gpucnn.from_dlpack(Tensor([1, 2])).tolist() == [1, 2]
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    copied = gpucnn.from_dlpack(frozen)
    copied.data[0] = 5
    assert frozen[0] == 0
    assert fixed.__dlpack_device__() == (1, 0)
    assert not hasattr(fixed, "__cuda_array_interface__")
    with pytest.raises(GradientError, match=r"^__dlpack__ of a tensor that has gradients: .* give tensor\.detach\(\)"):
        np.from_dlpack(learned())
    for wrong, message in (
        (
            [1.0],
            "from_dlpack: expected an array or tensor that knows DLPack, got [1.0]; give Tensor a list or an array",
        ),
        (np.ones(2, np.complex64), "expected numbers, got ndarray of dtype complex64"),
    ):
        with pytest.raises(DTypeError) as raised:
            gpucnn.from_dlpack(wrong)
        assert str(raised.value) == message


def test_other_words() -> None:
    x = learned()
    for call, message in (
        (lambda: x.unsqueeze(0), "Tensor has no unsqueeze; it is F.expand_dims(x, axis)"),
        (lambda: x.view(-1), "Tensor has no view; it is x.reshape(shape)"),
        (lambda: x.sigmoid(), "Tensor has no sigmoid; it is F.sigmoid(x)"),
        (lambda: x.shap, "Tensor has no shap; did you mean shape?"),
        (lambda: F.cat([x, x]), "functions has no cat; it is F.concatenate(tensors, axis)"),  # type: ignore[operator]
        (lambda: F.softmx(x), "functions has no softmx; did you mean softmax?"),  # type: ignore[operator]
    ):
        with pytest.raises(UnknownNameError) as raised:
            call()
        assert str(raised.value) == message
    assert not hasattr(x, "unsqueeze")
    assert getattr(x, "_repr_html_", None) is None


def test_every_other_word_is_right() -> None:
    """No word is for what is there, and what words name is there."""
    assert not [name for name in TENSOR if hasattr(Tensor, name)]
    assert not [name for name in FUNCTIONS if hasattr(F, name)]
    for words in (TENSOR, FUNCTIONS):
        for text in words.values():
            assert [name for name in re.findall(r"\bF\.(\w+)", text) if not hasattr(F, name)] == []


FUNCTION_NAMES = sorted(name for name in vars(F) if callable(getattr(F, name)) and name[0].islower())


@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_every_function_says_its_own_word_for_an_argument(name: str) -> None:
    function = getattr(F, name)
    arguments = inspect.signature(function).parameters
    for torch_word, words in KEYWORDS.items():
        if torch_word in arguments or not (own := [word for word in words if word in arguments]):
            continue
        with pytest.raises(KeywordError) as raised:
            function(learned(), **{torch_word: 0})
        assert str(raised.value) == f"{name}: {own[0]}, not {torch_word}"
        assert isinstance(raised.value, TypeError)
        assert isinstance(raised.value, GpucnnError)


def test_axis_is_the_word_of_every_function_that_has_one() -> None:
    having = {name for name in FUNCTION_NAMES if {"axis", "axes"} & set(inspect.signature(getattr(F, name)).parameters)}
    assert having >= {"sum", "softmax", "concatenate", "transpose", "argmax", "expand_dims"}
    assert not [
        name for name in FUNCTION_NAMES if {"dim", "keepdim"} & set(inspect.signature(getattr(F, name)).parameters)
    ]


def test_the_size_is_a_number() -> None:
    assert (learned().size, layers.Linear(2, 3).weight.size) == (6, 6)
    with pytest.raises(
        KeywordError, match=r"^Tensor\.size is the number of elements; it is x\.shape, or x\.shape\[0\] for"
    ):
        learned().size(0)  # type: ignore[operator]


def test_a_method_says_so_too() -> None:
    with pytest.raises(KeywordError, match="^sum: axis, not dim$"):
        learned().sum(dim=0)
    with pytest.raises(KeywordError, match="^mean: keepdims, not keepdim$"):
        learned().mean(axis=0, keepdim=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        learned().sum(colour=0)


def test_operators_work_where_nothing_but_tensors_was_imported() -> None:
    code = "from gpucnn import Tensor; x = Tensor([1.0, 2.0], requires_grad=True); (x + 1).exp().sum().backward(); print(x.grad.sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(np.exp(2) + np.exp(3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_is_compared_in_the_tensor_s_dtype(backend: Backend, dtype: type[np.floating[Any]]) -> None:
    x = backend.tensor(np.array([0.1, 0.2], dtype))
    assert host(x == 0.1).tolist() == [True, False]
    assert host(x < 0.1).tolist() == [False, False]
    assert host(x >= [0.1, 0.2]).tolist() == [True, True]
    assert host(x < 1e300).tolist() == [True, True]
