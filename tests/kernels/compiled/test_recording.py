"""Steps that are recorded as lists of calls: replays give the bits of eager steps, and what is no compiled loop is found."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, optim
from gpucnn import functions as F
from gpucnn.autograd import record
from gpucnn.backend import Array, Device, fed, host_memory, threads
from gpucnn.errors import CaptureError
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.recording import CallList, recorder
from gpucnn.kernels.elementwise import compiled as elementwise_loops

pytestmark = pytest.mark.usefixtures("needs_llvmlite", "in_compiled_loops")

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda parameters: optim.SGD(parameters, 0.01, 0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda parameters: optim.Adam(parameters, 0.01),
}


@pytest.fixture
def in_compiled_loops() -> Any:
    with ways.use("jit"):
        yield


def normalised() -> layers.Layer:
    """Batch norms, whose running statistics move in a step, a residual and overlapping windows."""
    norm = layers.BatchNorm2d(8)
    model = layers.Sequential(
        layers.Conv2d(1, 8, 3), layers.BatchNorm2d(8), layers.ReLU(), layers.MaxPool2d(3, 2),
        layers.Residual(layers.Sequential(layers.Conv2d(8, 8, 3, padding=1), norm)), layers.ReLU(),
        layers.Flatten(), layers.Linear(8 * 12 * 12, 10),
    )  # fmt: skip
    model.seed = 0
    return model


class Training:
    """A model, an optimizer and a batch. What is recorded is a `step` without what the host counts."""

    def __init__(self, name: str, optimizer: str = "sgd", batch: int = 16) -> None:
        known = name != "normalised"
        self.model = models.create(name, 10, seed=0) if known else normalised()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        shape = models.default_input(name) if known else (1, 28, 28)
        self.images = np.zeros((batch, *shape), np.float32)
        self.labels = np.zeros(batch, np.int32)
        self.batches = np.random.default_rng(0)
        self.optimizer.gather()

    def begin(self) -> None:
        """What the host does before a step: other images, another rate."""
        self.images[...] = self.batches.standard_normal(self.images.shape)
        self.labels[...] = self.batches.integers(0, 10, self.labels.size)
        self.optimizer.lr *= 0.7

    def gradients(self) -> Tensor:
        loss = F.cross_entropy(self.model(Tensor(self.images)), self.labels, label_smoothing=0.1)
        self.optimizer.zero_grad()
        loss.backward()
        return loss

    def step(self) -> Tensor:
        """Eagerly."""
        loss = self.gradients()
        self.optimizer.step()
        return loss

    def replay(self, calls: CallList) -> None:
        self.optimizer.advance()
        calls.replay()

    def recorded(self) -> Tensor:
        loss = self.gradients()
        self.optimizer.apply()
        return loss

    def state(self) -> list[np.ndarray]:
        flat = [one for buffer in self.optimizer.flat_buffers() for one in (buffer.data, buffer.gradient)]
        memory = [one for buffer in self.optimizer.flat_buffers() for one in buffer.memory.values()]
        return [self.images, self.labels, *flat, *memory, *(buffer.data for _, buffer in self.model.named_buffers())]

    def record(self) -> tuple[CallList, Tensor]:
        return CallList.record(self.recorded, self.state())

    def bytes(self) -> list[bytes]:
        return [array.tobytes() for array in self.state()]


@pytest.mark.parametrize("count", ["1", "2", "5"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["lenet5", "simplecnn", "normalised"])
def test_replays_give_the_bits_of_eager_steps(
    name: str, optimizer: str, count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(threads.VARIABLE, count)
    eager, own = Training(name, optimizer, 40), Training(name, optimizer, 40)
    before = own.bytes()
    calls, loss = own.record()
    assert own.bytes() == before
    for _ in range(4):
        eager.begin()
        own.begin()
        expected = eager.step()
        own.replay(calls)
        assert loss.data.tobytes() == expected.data.tobytes()
        assert own.bytes() == eager.bytes()
        calls.recorder.spoil()  # nothing that a replay has left is looked at by the next


def test_two_recordings_take_turns_and_one_outlives_the_other() -> None:
    eager, large, small = Training("lenet5"), Training("lenet5"), Training("lenet5", batch=8)
    small.model, small.optimizer = large.model, large.optimizer
    (calls, loss), (other, other_loss) = large.record(), small.record()
    for turn in range(3):
        for recorded, own, found in ((calls, large, loss), (other, small, other_loss)):
            own.begin()
            eager.images, eager.labels, eager.optimizer.lr = own.images, own.labels, own.optimizer.lr
            own.replay(recorded)
            assert found.data.tobytes() == eager.step().data.tobytes()
            assert own.bytes() == eager.bytes()
        if turn == 1:
            del recorded, other, other_loss, found
            gc.collect()
            host_memory.release_memory()
            other, other_loss = small.record()


def test_memory_of_a_recording_is_nobody_elses() -> None:
    training = Training("lenet5", batch=64)
    calls, loss = training.record()
    training.begin()
    training.replay(calls)
    expected, spans = loss.data.copy(), calls.recorder.memory.spans()
    assert any(np.shares_memory(loss.data, span) for span in spans)
    strangers = [host_memory.empty((size,), np.float32) for size in range(1, 1 << 20, 1 << 14)]
    assert not any(np.shares_memory(stranger, span) for stranger in strangers for span in spans)
    for stranger in strangers:
        stranger.fill(np.nan)
    assert loss.data == expected
    # Arrays that are gone make room for others: ReLU's outputs and gradients alone would take more.
    assert sum(span.nbytes for span in spans) < 64 * 4 * (2 * 6 * 28 * 28 + 3 * 16 * 10 * 10) * 2


def test_arrays_of_numpys_own_are_kept() -> None:
    """A loop may fill one that does not come from the recording's memory, or read one as a constant."""

    def step(values: np.ndarray) -> np.ndarray:
        between, constant = np.empty_like(values), np.ones_like(values)
        constant.flags.writeable = False
        loop.run(elementwise_loops.formula_loop("add"), values.size, [values, constant, between])
        return doubled(between)

    calls, result, values = recorded(step)
    strangers = [np.full_like(values, 7) for _ in range(1000)]
    calls.replay()
    assert all((stranger == 7).all() for stranger in strangers)
    np.testing.assert_array_equal(result, 2 * (values + 1))


def test_parameters_that_are_assigned_are_seen_by_a_replay() -> None:
    eager, own = Training("simplecnn"), Training("simplecnn")
    calls, loss = own.record()
    for training in (eager, own):
        training.begin()
        for parameter in training.model.parameters():
            parameter.assign(np.full(parameter.shape, 0.01, np.float32))
    calls.replay()
    assert loss.data == eager.step().data
    assert own.bytes() == eager.bytes()


def test_a_replay_does_without_threads_that_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "3")
    eager, own = Training("lenet5", batch=64), Training("lenet5", batch=64)
    calls, _ = own.record()
    for training in (eager, own):
        training.begin()
    eager.step()
    with threads.pool(2) as held:
        assert len(held) == 2
        calls.replay()
    assert own.bytes() == eager.bytes()


def test_replays_of_several_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.VARIABLE, "3")
    eager, own = Training("lenet5", batch=64), [Training("lenet5", batch=64) for _ in range(3)]
    eager.begin()
    eager.step()
    recorded = [training.record()[0] for training in own]
    for training in own:
        training.begin()
    running = [threading.Thread(target=calls.replay) for calls in recorded]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert all(training.bytes() == eager.bytes() for training in own)


@pytest.mark.parametrize("late", [0, 1, 2])
def test_ctrl_c_comes_out_when_the_step_is_done(late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = pytest.importorskip("gpucnn.kernels.compiler.dispatch").dispatcher()
    monkeypatch.setenv(threads.VARIABLE, "3")
    eager, own = Training("lenet5", batch=64), Training("lenet5", batch=64)
    calls, _ = own.record()
    for training in (eager, own):
        training.begin()
    eager.step()
    go_through, made = dispatcher._go_through, 0

    def impatient(*arguments: Any) -> int:
        nonlocal made
        made += 1
        done = int(go_through(*arguments[:-1], 0))  # which waits for nobody
        return 0 if made <= late + 1 else done

    def interrupted(seconds: float) -> None:
        if made > late and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    monkeypatch.setattr(dispatcher, "_go_through", impatient)
    monkeypatch.setattr("gpucnn.kernels.compiler.dispatch.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calls.replay()
    assert own.bytes() == eager.bytes()
    monkeypatch.undo()
    calls.replay()


def test_a_job_that_is_waited_for_is_not_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = pytest.importorskip("gpucnn.kernels.compiler.dispatch")
    monkeypatch.setenv(threads.VARIABLE, "2")
    values, ones = np.zeros(64, np.float32), np.ones(64, np.float32)
    parts = [slice(0, 20), slice(20, 64)]

    def step() -> None:
        loop.run(elementwise_loops.formula_loop("add"), 64, [values, ones, values], parts)

    calls, _ = CallList.record(step, [values, ones])
    shared, waits = dispatch.dispatcher()._shared, 0

    def come_back(seconds: float) -> None:
        nonlocal waits
        if threading.current_thread() is threading.main_thread():
            waits += 1
            if waits == 3:
                shared[dispatch.ACTIVE] -= 1

    monkeypatch.setattr(dispatch, "WAITING_SPINS", 10)
    monkeypatch.setattr("gpucnn.kernels.compiler.dispatch.time.sleep", come_back)
    shared[dispatch.ACTIVE] += 1  # as if a helper had not come back from its part
    calls.replay()
    assert waits >= 3
    np.testing.assert_array_equal(values, ones)


class Scaled(layers.Layer):
    """A layer of a user's own, whose operation NumPy computes."""

    def forward(self, x: Any) -> Tensor:
        return record("scaled", x.data * np.float32(2), (x,), lambda gradient: (gradient * np.float32(2),))


class Back(layers.Layer):
    """One whose gradient alone NumPy computes."""

    def forward(self, x: Any) -> Tensor:
        return record("back", x.data, (x,), lambda gradient: (gradient * np.float32(2),))


class InPlace(layers.Layer):
    """One that changes what a loop has filled."""

    def forward(self, x: Any) -> Tensor:
        x.data[...] *= np.float32(2)
        return record("in place", x.data, (x,), lambda gradient: (gradient,))


REFUSED: dict[str, tuple[Callable[[], list[layers.Layer]], str]] = {
    "another way": (
        lambda: [layers.Conv2d(1, 2, 3), layers.AvgPool2d(2), layers.Flatten(), layers.Linear(18, 10)],
        r"1 \(AvgPool2d\): pooling is computed in the plain way here, not by compiled loops; leave such steps as they are: graph=False \(--no-graph\)$",
    ),
    "a product": (
        lambda: [layers.Conv2d(1, 2, 6), layers.Flatten(), layers.Linear(18, 10)],
        r"0 \(Conv2d\): convolution is computed in the numpy way here, not by compiled loops",
    ),
    "a look at what was computed": (
        lambda: [layers.Conv2d(1, 2, 3), layers.MaxPool2d(3, padding=1), layers.Flatten(), layers.Linear(8, 10)],
        r"1 \(MaxPool2d\): pooling with padding looks for windows of nothing but minus infinity",
    ),
    "no loop at all": (
        lambda: [layers.Flatten(), layers.Linear(64, 10), layers.Sigmoid()],
        r"2 \(Sigmoid\): sigmoid is computed by NumPy here, not by a compiled loop; leave such steps as they are: graph=False \(--no-graph\)$",
    ),
    "an operation of one's own": (
        lambda: [layers.Flatten(), layers.Linear(64, 10), Scaled()],
        "scaled is computed by NumPy here",
    ),
    "a gradient of one's own": (
        lambda: [layers.Flatten(), layers.Linear(64, 10), Back()],
        "back is computed by NumPy here",
    ),
    "in place": (
        lambda: [layers.Flatten(), layers.Linear(64, 10), InPlace(), layers.Linear(10, 10)],
        "a replay gives something else than the step",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_compiled_loop_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    model = layers.Sequential(*make())
    optimizer = optim.SGD(model.parameters(), 0.1)
    images, labels = np.ones((4, 1, 8, 8), np.float32), np.zeros(4, np.int32)

    def step() -> Tensor:
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.gather()
    state = [images, labels, *(one for buffer in optimizer.flat_buffers() for one in (buffer.data, buffer.gradient))]
    before = [array.tobytes() for array in state]
    with pytest.raises(CaptureError, match=message):
        CallList.record(step, state)
    assert [array.tobytes() for array in state] == before
    assert recorder() is None


def doubled(values: Array) -> np.ndarray:
    result = host_memory.empty_like(values)
    loop.run(elementwise_loops.formula_loop("add"), values.size, [values, values, result])
    return result


def recorded(step: Callable[[np.ndarray], Any], values: np.ndarray | None = None) -> tuple[CallList, Any, np.ndarray]:
    values = np.arange(5, dtype=np.float32) if values is None else values
    return *CallList.record(lambda: step(values), [values]), values


def test_memory_from_elsewhere_is_refused() -> None:
    for stranger in (np.ones(5, np.float32), np.ones(10, np.float32)[:5]):
        with pytest.raises(CaptureError, match="add: a was filled by no compiled loop, and is no part of the state"):
            recorded(lambda values, stranger=stranger: doubled(stranger))
    with pytest.raises(CaptureError, match="add: a was filled by no"):
        recorded(lambda values: doubled(values + 1))


def test_what_nobody_can_write_to_is_a_constant() -> None:
    constant = np.ones(5, np.float32)
    constant.flags.writeable = False
    calls, result, _ = recorded(lambda values: doubled(constant[:5]))
    calls.replay()
    assert (result == 2).all()
    view = np.ones(5, np.float32)[:]
    view.flags.writeable = False  # others can write to what it is a view of
    with pytest.raises(CaptureError, match="was filled by no"):
        recorded(lambda values: doubled(view))


def test_a_result_from_elsewhere_is_refused() -> None:
    with pytest.raises(CaptureError, match="the step's result is computed by NumPy here"):
        recorded(lambda values: (doubled(values), values.sum(keepdims=True)))


def test_what_a_zero_hides_is_found() -> None:
    """A bias is 0 at first, and adding it changes nothing: the trial is made on other numbers."""
    bias = np.zeros(5, np.float32)

    def step() -> np.ndarray:
        result = doubled(bias)
        result += bias
        return doubled(result)

    with pytest.raises(CaptureError, match="a replay gives something else than the step: NumPy works there"):
        CallList.record(step, [bias])


def test_numbers_that_are_not_finite_prove_nothing() -> None:
    with pytest.raises(CaptureError, match="gives numbers that are not finite"):
        recorded(doubled, np.full(5, 3e38, np.float32))


def test_what_is_fed_is_asked_for_before_every_replay() -> None:
    rate = [1.0]
    calls, result, _ = recorded(lambda values: doubled(fed(lambda: np.array(rate, np.float32), Device())))
    for rate[0] in (3.0, 5.0):
        calls.replay()
        assert result == 2 * rate[0]
    rate.append(7.0)
    with pytest.raises(CaptureError, match=r"fed float32 \(2,\) where it was fed float32 \(1,\); record it anew"):
        calls.replay()
    with pytest.raises(CaptureError, match="a step of compiled loops is fed on the CPU, got cuda:0; move the model"):
        recorded(lambda values: fed(lambda: np.ones(1), Device("cuda", 0)))


def test_a_list_of_loops_that_do_nothing_does_nothing() -> None:
    training = Training("lenet5")
    calls, _ = training.record()
    before = training.bytes()
    calls.calling(loop.nothing()).replay()
    assert training.bytes() == before
    calls.replay()
    assert training.bytes() != before


def test_an_error_in_the_step_leaves_everything_as_it_was() -> None:
    values = np.arange(5, dtype=np.float32)

    def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CallList.record(step, [values])
    assert recorder() is None
    np.testing.assert_array_equal(values, np.arange(5))
    assert not any(np.shares_memory(host_memory.empty((9,), np.float32), span) for span in [values])


def test_a_parameter_that_is_used_twice() -> None:
    layer = layers.Linear(6, 6)
    images = np.ones((4, 6), np.float32)
    optimizer = optim.SGD(layer.parameters(), 0.1)
    optimizer.gather()
    (buffer,) = optimizer.flat_buffers()

    def step() -> Tensor:
        loss = F.cross_entropy(layer(layer(Tensor(images))), labels)
        optimizer.zero_grad()
        loss.backward()
        return loss

    labels = np.zeros(4, np.int32)
    calls, loss = CallList.record(step, [images, labels, buffer.data, buffer.gradient])
    expected = [step().data.tobytes(), buffer.gradient.tobytes()]
    buffer.gradient[...] = np.nan
    calls.replay()
    assert [loss.data.tobytes(), buffer.gradient.tobytes()] == expected
