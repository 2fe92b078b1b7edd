"""An array that is written to between the forward and the backward pass ends in an error, and in none where it does no harm."""

import ast
import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, autograd, layers, no_grad, optim
from gpucnn import functions as F
from gpucnn.autograd.writes import MOST_PLACES, Log, place_of
from gpucnn.errors import GradientError
from tests.backends import Backend
from tests.functions.case import Case
from tests.functions.test_every_function import CASES, spread

ELEMENTS = "an assignment to elements of its data"
WRITERS: dict[str, Callable[[np.ndarray], object]] = {
    "setitem": lambda data: data.__setitem__(..., 5),
    "one element": lambda data: data.__setitem__((0, 1), 5),
    "of a row": lambda data: data[0].__setitem__(1, 5),
    "of a reshape": lambda data: data.reshape(-1).__setitem__(2, 5),
    "of a transpose": lambda data: data.T.__setitem__((1, 0), 5),
    "in place": lambda data: data.__iadd__(1),
    "out of a ufunc": lambda data: np.multiply(data, 2, out=data),
    "at of a ufunc": lambda data: np.add.at(data, (0, 0), 1),
    "out of a function": lambda data: np.clip(data, 0, 1, out=data),
    "copyto": lambda data: np.copyto(data, 5),
    "put": lambda data: np.put(data, [0], 5),
    "fill": lambda data: data.fill(5),
    "sort": lambda data: data.sort(axis=0),
}
PAST_THE_COUNTER: dict[str, Callable[[np.ndarray], object]] = {
    "asarray": lambda data: np.asarray(data).__setitem__(0, 5),
    "view": lambda data: data.view(np.ndarray).__setitem__(0, 5),
    "memoryview": lambda data: memoryview(data).__setitem__((0, 0), 5.0),
    "flat": lambda data: data.flat.__setitem__(0, 5),
}
HARMLESS: dict[str, Callable[[np.ndarray], object]] = {
    "a copy": lambda data: data.copy().__setitem__(0, 5),
    "another dtype": lambda data: data.astype("float32").__setitem__(0, 5),
    "elements by index": lambda data: data[[0, 1]].__setitem__(0, 5),
    "a result": lambda data: (data + 1).__setitem__(0, 5),
    "reading": lambda data: (data.sum(), data.max(axis=0), np.mean(data), data.tolist(), repr(data)),
}


def leaf() -> Tensor:
    return Tensor(np.array([[2.0, -1.0], [0.5, 3.0]]), requires_grad=True)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_write_to_what_is_saved_is_an_error(write: Callable[[np.ndarray], object]) -> None:
    w = leaf()
    y = (w * w).sum()
    write(w.data)
    with pytest.raises(GradientError) as raised:
        y.backward()
    assert str(raised.value) == (
        f"an array (2, 2) was changed between the forward pass and backward(), by {ELEMENTS}, and the gradient of multiply needs "
        f"it as it was; change it after backward(), or have a copy changed: tensor.clone()"
    )
    assert w.grad is None


@pytest.mark.parametrize("write", PAST_THE_COUNTER.values(), ids=PAST_THE_COUNTER)
def test_what_would_write_past_the_counter_is_refused_by_numpy(write: Callable[[np.ndarray], object]) -> None:
    w = leaf()
    y = (w * w).sum()
    with pytest.raises((ValueError, TypeError), match="read-only"):
        write(w.data)
    y.backward()
    np.testing.assert_array_equal(w.grad, 2 * w.numpy())


@pytest.mark.parametrize("use", HARMLESS.values(), ids=HARMLESS)
def test_copies_are_nobody_else_s(use: Callable[[np.ndarray], object]) -> None:
    w = leaf()
    y = (w * w).sum()
    use(w.data)
    y.backward()
    np.testing.assert_array_equal(w.grad, [[4, -2], [1, 6]])


def test_what_the_gradient_does_not_need_may_change() -> None:
    w = leaf()
    h = w + 3.0
    y = (h + h).sum()
    h.data[...] = 0
    w.data[...] = 7
    y.backward()
    np.testing.assert_array_equal(w.grad, np.full((2, 2), 2.0))
    np.testing.assert_array_equal(w.numpy(), np.full((2, 2), 7.0))


def test_after_backward_it_may_change_and_the_next_pass_counts_anew() -> None:
    w = leaf()
    for _ in range(3):
        w.grad = None
        (w * w).sum().backward()
        assert w.grad is not None
        w.data -= 0.25 * w.grad
        w.data[0, 0] = 1
    np.testing.assert_array_equal(w.numpy(), [[1, -0.125], [0.0625, 0.375]])


def test_another_array_in_its_place_changes_no_gradient() -> None:
    w = leaf()
    y = (w * w).sum()
    w.data = np.zeros((2, 2))
    w.data[...] = 3
    y.backward()
    np.testing.assert_array_equal(w.grad, [[4, -2], [1, 6]])


def test_a_reversed_view_in_its_place_is_taken_as_it_is() -> None:
    w = leaf()
    (w * w).sum().backward()
    w.data = w.data[::-1]
    np.testing.assert_array_equal(w.numpy(), [[0.5, 3], [2, -1]])
    w.data[0] = 1
    np.testing.assert_array_equal(w.numpy(), [[1, 1], [2, -1]])


def test_parts_that_were_not_written_to_do_no_harm() -> None:
    w = leaf()
    h = w * 1.0
    first = F.exp(h[0])
    h.data[1] = 0
    first.sum().backward()
    np.testing.assert_allclose(w.grad, [[np.exp(2), np.exp(-1)], [0, 0]])


@pytest.mark.parametrize("look", [lambda h: h.detach(), lambda h: h.reshape(4), lambda h: h[0], lambda h: h.T], ids=["detach", "reshape", "row", "T"])  # fmt: skip
def test_a_write_through_another_tensor_of_the_same_memory(look: Callable[[Tensor], Tensor]) -> None:
    w = leaf()
    h = F.exp(w)
    look(h).data[...] = 1
    with pytest.raises(GradientError, match=r"^an array \(2, 2\) was changed .* the gradient of exp needs it"):
        h.sum().backward()


def test_images_without_a_gradient_are_watched_too() -> None:
    images, model = Tensor(np.ones((2, 1, 4, 4), np.float32)), layers.Conv2d(1, 2, 3)
    loss = model(images).sum()
    images.data[0] = 0
    with pytest.raises(
        GradientError, match=r"^an array \(2, 1, 4, 4\) was changed .* the gradient of conv2d in Conv2d needs it"
    ):
        loss.backward()


def small_model() -> layers.Sequential:
    return layers.Sequential(layers.Conv2d(1, 2, 3, activation="relu"), layers.Flatten(), layers.Linear(8, 3))


def pass_forward(model: layers.Layer, backend: Backend) -> Tensor:
    return F.cross_entropy(model(backend.array(np.ones((2, 1, 4, 4), np.float32))), np.array([0, 2]))


def test_an_optimizer_s_step_before_the_backward_pass(backend: Backend) -> None:
    model = small_model().to(backend.device_name)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    pass_forward(model, backend).backward()
    optimizer.step()
    first, second = pass_forward(model, backend), pass_forward(model, backend)
    optimizer.zero_grad()
    first.backward()
    optimizer.step()
    with pytest.raises(GradientError) as raised:
        second.backward()
    assert str(raised.value) == (
        "2.weight was changed between the forward pass and backward(), by the optimizer's step, and the gradient of linear in "
        "2 (Linear) needs it as it was; change it after backward(), or have a copy changed: tensor.clone()"
    )


def test_a_step_after_weights_were_written_to_where_they_lived_before() -> None:
    model = small_model()
    F.cross_entropy(model(np.ones((2, 1, 4, 4), np.float32)), np.array([0, 2])).backward()
    model[2].weight.data[...] = 1
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.gather()  # the weights move
    loss = F.cross_entropy(model(np.ones((2, 1, 4, 4), np.float32)), np.array([0, 2]))
    optimizer.step()
    with pytest.raises(GradientError, match=r"^2\.weight was changed .* by the optimizer's step"):
        loss.backward()


def test_weights_that_are_loaded_before_the_backward_pass(backend: Backend) -> None:
    model = small_model().to(backend.device_name)
    loss = pass_forward(model, backend)
    model.load_state_dict(model.state_dict())
    with pytest.raises(GradientError, match=r"^2\.weight was changed .*, by assign\(\), or load_state_dict\(\), and"):
        loss.backward()


def test_a_step_on_a_gpu_counts_what_is_assigned_to_data(backend: Backend) -> None:
    w = backend.tensor(np.ones((2, 2), np.float32), True)
    y = (w * w).sum()
    w.data -= 1
    with pytest.raises(GradientError, match="was changed between"):
        y.backward()


def test_a_hook_that_writes_to_its_layer_s_output_is_told_of_the_layer() -> None:
    model = small_model()
    model[0].register_forward_hook(lambda layer, inputs, output: output.data.fill(0))
    with pytest.raises(GradientError, match=r"was changed .* the gradient of conv2d in 0 \(Conv2d\) needs it"):
        F.cross_entropy(model(np.ones((2, 1, 4, 4), np.float32)), np.array([0, 2])).backward()


def test_a_checkpoint_needs_its_weights_and_inputs_as_they_were() -> None:
    block = layers.Checkpoint(layers.Linear(3, 2))
    for write in (lambda x: block.block.weight.data.fill(0), lambda x: x.data.fill(0)):  # type: ignore[attr-defined]
        x = Tensor(np.ones((1, 3), np.float32))
        loss = block(x).sum()
        write(x)
        with pytest.raises(GradientError, match="the gradient of checkpoint in Checkpoint needs it"):
            loss.backward()


def test_a_function_of_one_s_own_needs_what_it_saved() -> None:
    class Square(autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)  # type: ignore[attr-defined]
            return x * x

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return 2 * ctx.saved_tensors[0] * gradient  # type: ignore[attr-defined]

    x = leaf()
    y = Square.apply(x).sum()
    x.data[...] = 1
    with pytest.raises(GradientError, match="the gradient of Square needs it"):
        y.backward()


def test_without_a_tape_nothing_is_watched() -> None:
    array = np.ones(3)
    x = Tensor(array)
    with no_grad():
        F.exp(x)
    assert x.data is array
    assert x.numpy() is array


def test_numpy_of_what_learns_is_read_only_and_data_is_not() -> None:
    weight = layers.Linear(3, 2).weight
    with pytest.raises(ValueError, match="read-only"):
        weight.numpy()[0] = 1
    weight.data[0] = 1
    assert weight.numpy()[0].tolist() == [1, 1, 1]
    frozen = layers.Linear(3, 2).requires_grad_(False).weight
    frozen.numpy()[0] = 1
    assert frozen.numpy()[0].tolist() == [1, 1, 1]


def test_copies_and_pickles_of_watched_arrays_are_plain() -> None:
    w = leaf()
    (w * w).sum()
    for one in (copy.copy(w.data), copy.deepcopy(w.data), pickle.loads(pickle.dumps(w.data))):
        assert type(one) is np.ndarray
        one[0] = 9
    assert repr(w.data) == repr(np.array([[2, -1], [0.5, 3]]))
    assert type(w.data + 1) is np.ndarray
    model = small_model()
    F.cross_entropy(model(np.ones((2, 1, 4, 4), np.float32)), np.array([0, 2])).backward()
    again = copy.deepcopy(model)
    again[0].weight.data[...] = 0
    assert model[0].weight.numpy().any()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_change_that_spoils_a_gradient_goes_unseen(case: Case) -> None:
    """Arrays are changed behind the counter's back first: where that gives other gradients, the same change in sight is an error."""
    rng = np.random.default_rng(0)
    arrays = [spread(rng, shape, True) for shape in case.shapes]

    def gradients(change: Callable[[list[Tensor]], object]) -> list[np.ndarray]:
        tensors = [Tensor(array.copy(), requires_grad=True) for array in arrays]
        output = case.function(*tensors)
        change([*tensors, output])
        with np.errstate(all="ignore"):
            output.backward(np.ones(output.shape))
        return [np.zeros(0) if tensor.grad is None else tensor.grad for tensor in tensors]

    right = gradients(lambda tensors: None)
    for position in range(len(arrays) + 1):
        unseen = gradients(lambda tensors, own=position: tensors[own]._data.__iadd__(0.37))
        if all(np.array_equal(one, other, equal_nan=True) for one, other in zip(right, unseen, strict=True)):
            continue
        with pytest.raises(GradientError, match="was changed between the forward pass and backward"):
            gradients(lambda tensors, own=position: tensors[own].data.__iadd__(0.37))


def test_a_log_of_many_places_forgets_none() -> None:
    log, array = Log(), np.zeros(MOST_PLACES + 10)
    for position in range(0, len(array), 2):
        log.note("even", place_of(array[position : position + 1]))
    before = log.count
    assert (log.since(0, array[2:3]), log.since(0, array[3:4])) == ("even", "")
    for position in range(len(array)):
        log.note("all", place_of(array[position : position + 1]))
    assert all(log.since(before, array[position : position + 1]) == "all" for position in range(len(array)))
    assert log.since(log.count, array) == ""


def test_a_log_that_becomes_long_accuses_nobody_who_saved_lately() -> None:
    log, others, saved = Log(), np.zeros(2 * MOST_PLACES), np.zeros(4)
    log.note("long ago", (0, 1))  # and memory up to the highest address is between
    log.note("long ago", (1 << 62, (1 << 62) + 1))
    for position in range(len(others)):
        before = log.count
        log.note("another", place_of(others[position : position + 1]))
        assert log.since(before, saved) == ""


def test_a_tensor_of_watched_data_can_be_written_to() -> None:
    w = leaf()
    (w * w).sum()
    for other in (Tensor(w.data), Tensor(w.data[:1], requires_grad=True)):
        other.data -= 1.0
    np.testing.assert_array_equal(w.numpy(), [[0, -3], [-0.5, 2]])


def test_data_that_nobody_may_write_to_is_read_and_handed_on() -> None:
    w = Tensor(np.frombuffer(np.ones(4, np.float32).tobytes(), np.float32), requires_grad=True)
    y = (w * w).sum()
    other = Tensor(np.zeros(4, np.float32))
    other.data = w.data
    with pytest.raises(ValueError, match="read-only"):
        w.data[0] = 1
    y.backward()
    np.testing.assert_array_equal(w.grad, np.full(4, 2))
    np.testing.assert_array_equal(other.numpy(), np.ones(4))


def test_the_library_reads_arrays_as_they_are() -> None:
    """`data` is for programs, whose writes are noted; what is read by `array` costs nothing."""
    root = Path(gpucnn.__file__).parent
    found = []
    for package in ("autograd", "functions", "layers", "optim", "training", "diagnosis", "models"):
        for file in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "data" and isinstance(node.ctx, ast.Load):
                    found.append(f"{file.relative_to(root)}: {ast.unparse(node)}")
    assert {one for one in found if not one.endswith(": gpucnn.data")} == {
        "autograd/writes.py: array.data",  # the memory of an array of CuPy's
        "layers/parameter.py: super().data",
        "optim/flat_buffer.py: self.data",
        "optim/optimizer.py: buffer.data",  # of a flat buffer
        "training/recorder.py: buffer.data",
        "training/sharded_step.py: buffer.data",
    }
