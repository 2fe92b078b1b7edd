"""Steps that are recorded on a GPU do, when replayed, what they do when they are run: on new numbers, in the same memory."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, autograd, layers
from gpucnn.backend import (
    Array,
    Device,
    beside,
    choose_device,
    cublas,
    device_of,
    fed,
    graph,
    memory,
    overwrite,
    to_device,
    to_host,
)
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.backend.memory import is_out_of_memory
from gpucnn.checks import Shape
from gpucnn.errors import CaptureError, KernelError, ShapeError
from gpucnn.kernels import gemm
from gpucnn.kernels.elementwise import cuda as elementwise
from gpucnn.kernels.update import cuda as update
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.operation_log import Operation
from tests.backends import Backend, emulated_cupy


@pytest.fixture
def device(gpu: Backend) -> Device:
    """The GPU of each backend that has one."""
    return choose_device("cuda").device


@pytest.fixture
def log(gpu: Backend) -> Iterator[list[Operation]]:
    """What the stand-in is asked for."""
    if gpu.name != "emulated":
        pytest.skip("the stand-in alone tells what it is asked for")
    with emulated_cupy().operation_log.recorded() as operations:
        yield operations


class Momentum:
    """Steps of gradient descent with momentum, whose rate changes: a layer's forward pass and an update, by our own kernels."""

    def __init__(self, device: Device, host: Callable[[], float]) -> None:
        draws = np.random.default_rng(5)
        self.rate, self.device, self.inputs = host, device, to_device(np.zeros((4, 3), np.float32), device)
        self.weight = to_device(draws.standard_normal((4, 3)).astype(np.float32), device)
        self.velocity = to_device(np.zeros((4, 3), np.float32), device)

    def __call__(self) -> Array:
        xp = self.device.xp
        settings = fed(lambda: np.array([self.rate(), 0.9, 0.0], np.float32), self.device)
        hidden = xp.maximum(self.weight * self.inputs, 0)
        gradient = hidden * self.inputs
        update.sgd(self.weight, gradient, self.velocity, settings, nesterov=False)
        return hidden.sum()


def steps_of(device: Device, replayed: bool, steps: int = 5) -> list[np.ndarray]:
    """The losses, and what the weights are in the end, of some steps that are run or replayed."""
    rates = iter(np.linspace(0.5, 0.01, steps + 3))
    rate = [0.0]
    step, found = Momentum(device, lambda: rate[0]), []
    recorded = graph.Graph.record(step, device) if replayed else None
    for number in range(steps):
        rate[0] = next(rates)
        overwrite(step.inputs, np.random.default_rng(number).standard_normal((4, 3)).astype(np.float32))
        if recorded is None:
            loss = step()
        else:
            recorded[0].replay()
            loss = recorded[1]
        found.append(to_host(loss).copy())
    return [*found, to_host(step.weight), to_host(step.velocity)]


def test_replayed_steps_are_steps(device: Device) -> None:
    assert [values.tobytes() for values in steps_of(device, replayed=True)] == [
        values.tobytes() for values in steps_of(device, replayed=False)
    ]


def test_recording_does_nothing(device: Device) -> None:
    step = Momentum(device, lambda: 0.5)
    overwrite(step.inputs, np.ones((4, 3), np.float32))
    before = to_host(step.weight)
    recorded, _ = graph.Graph.record(step, device)
    np.testing.assert_array_equal(to_host(step.weight), before)
    np.testing.assert_array_equal(to_host(step.velocity), 0)
    recorded.replay()
    assert not np.array_equal(to_host(step.weight), before)


def test_three_recordings_take_turns(device: Device) -> None:
    xp, total = device.xp, to_device(np.zeros(3, np.float32), device)
    number = [0.0]

    def step(factor: float) -> Array:
        total[...] = total * factor + fed(lambda: np.array([number[0]] * 3, np.float32), device)
        return xp.square(total)

    recorded = [graph.Graph.record(lambda factor=factor: step(factor), device) for factor in (1.0, 2.0, -1.0)]
    expected = 0.0
    for turn in range(7):
        number[0] = turn + 0.5
        own, squares = recorded[turn % 3]
        own.replay()
        expected = expected * (1.0, 2.0, -1.0)[turn % 3] + number[0]
        np.testing.assert_array_equal(to_host(total), np.full(3, expected, np.float32))
        np.testing.assert_array_equal(to_host(squares), np.full(3, expected**2, np.float32))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (0,)])
def test_feeds_have_any_shape_and_dtype(device: Device, dtype: str, shape: tuple[int, ...]) -> None:
    values = [np.ones(shape, dtype)]
    recorded, (first, own, last) = graph.Graph.record(
        lambda: (
            fed(lambda: np.array([1, 2, 3], np.int32), device).copy(),
            fed(lambda: values[0], device).copy(),
            fed(lambda: np.array(7.0), device).copy(),
        ),
        device,
    )
    for number in (1, 0, 1):
        values[0] = np.full(shape, number, dtype)
        recorded.replay()
        assert own.dtype == dtype
        np.testing.assert_array_equal(to_host(own), values[0], strict=True)
        assert to_host(first).tolist() == [1, 2, 3]
        assert to_host(last) == 7


def test_feeds_are_one_copy_and_none_if_nothing_changed(device: Device, log: list[Operation]) -> None:
    rate = [0.0]
    recorded, _ = graph.Graph.record(
        lambda: fed(lambda: np.array(rate[0]), device) * fed(lambda: np.array(2.0), device), device
    )
    for value, copies in ((0.0, 1), (0.0, 0), (1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1), (4.0, 0)):
        rate[0] = value
        del log[:]
        recorded.replay()
        assert [operation.kind for operation in log] == ["upload"] * copies + ["launch"]
        assert log[-1] == Operation("launch", "graph", (1,))


def test_what_is_not_fed_costs_no_copy(device: Device, log: list[Operation]) -> None:
    total = to_device(np.zeros(3), device)
    recorded, _ = graph.Graph.record(lambda: total.__iadd__(1), device)
    del log[:]
    recorded.replay()
    assert log == [Operation("launch", "graph", (1,))]


def test_a_feed_keeps_its_shape_and_dtype(device: Device) -> None:
    values = [np.zeros(3)]
    recorded, _ = graph.Graph.record(lambda: fed(lambda: values[0], device) + 1, device)
    values[0] = np.zeros(4)
    with pytest.raises(CaptureError, match=r"fed float64 \(4,\) where it was fed float64 \(3,\); record it anew"):
        recorded.replay()


def test_numbers_and_host_arrays_meet_tensors(device: Device) -> None:
    images, factors = Tensor(to_device(np.ones((2, 3), np.float32), device)), np.arange(3)
    recorded, result = graph.Graph.record(lambda: (images * 2 + factors).data, device)
    for number in range(2):
        factors[0] = number
        recorded.replay()
        np.testing.assert_array_equal(to_host(result), [[2 + number, 3, 4]] * 2)


def test_a_step_is_fed_so_much(device: Device) -> None:
    with pytest.raises(CaptureError, match="can be fed 32,768 bytes, and it has 0 when 32,776 more are to come"):
        graph.Graph.record(lambda: fed(lambda: np.zeros(graph.MOST_WORDS + 1), device), device)
    recorded, found = graph.Graph.record(lambda: fed(lambda: np.ones(graph.MOST_WORDS), device).sum(), device)
    recorded.replay()
    assert to_host(found) == graph.MOST_WORDS


def test_our_kernels_are_recorded(device: Device) -> None:
    images, bias = to_device(np.zeros((2, 2, 3), np.float32), device), to_device(np.float32([1, -1]), device)
    recorded, output = graph.Graph.record(lambda: elementwise.add_bias(images.copy(), bias, relu=True), device)
    for number in range(2):
        values = np.random.default_rng(number).standard_normal((2, 2, 3)).astype(np.float32)
        overwrite(images, values)
        recorded.replay()
        np.testing.assert_array_equal(to_host(output), np.maximum(values + np.float32([[1], [-1]]), 0))


def test_an_array_bound_anew_shows(device: Device) -> None:
    state = SimpleNamespace(total=to_device(np.zeros(2), device), scale=to_device(np.ones(2), device))

    def wrong() -> Array:
        state.total = state.total + state.scale
        return state.total

    first = state.total
    recorded, _ = graph.Graph.record(wrong, device)
    recorded.replay()
    recorded.replay()
    np.testing.assert_array_equal(to_host(first), 0)
    np.testing.assert_array_equal(to_host(state.total), 1)  # where eager steps have 2


REFUSED: dict[str, tuple[Callable[[Array], Any], str]] = {
    "a download": (lambda a: a.get(), "D2H transfers are disallowed"),
    "a number": (lambda a: float(a.sum()), "D2H transfers are disallowed"),
    "a decision": (lambda a: bool((a > 0).all()), "D2H transfers are disallowed"),
    "an item": (lambda a: a[0].item(), "D2H transfers are disallowed"),
    "an upload": (lambda a: to_device(np.ones(3), device_of(a)), "H2D transfers are disallowed"),
    "set": (lambda a: a.set(np.ones(3)), "H2D transfers are disallowed"),
    "a mask": (lambda a: a[a > 0], "D2H transfers are disallowed"),
    "a list": (lambda a: a[[0, 2]], "H2D transfers are disallowed"),
}


def test_products_are_recorded(device: Device) -> None:
    """On the first stream, or on one that a product was never made on."""
    rng = np.random.default_rng(11)
    values = [rng.standard_normal((2, 4, 5)).astype(np.float32) for _ in range(2)]
    b = rng.standard_normal((5, 3)).astype(np.float32)
    inputs, weight = to_device(values[0], device), to_device(b, device)
    recorded, found = graph.Graph.record(lambda: gemm.matmul(gemm.matmul(inputs, weight), weight.T), device)
    for now in (*values, values[0]):
        overwrite(inputs, now)
        recorded.replay()
        np.testing.assert_allclose(to_host(found), now @ b @ b.T, rtol=1e-5, atol=1e-5)


def test_a_product_works_on_what_is_there(device: Device, gpu: Backend) -> None:
    if gpu.name != "emulated":
        pytest.skip("a GPU would read what others have put there")
    inputs, weight = (to_device(np.ones((3, 3)), device) for _ in range(2))
    factors = [weight]
    recorded, _ = graph.Graph.record(lambda: gemm.matmul(inputs, factors[0]), device)
    recorded.replay()
    factors.clear()
    del weight
    gc.collect()
    with pytest.raises(KernelError, match="works on an array from before the capture, and that array is gone"):
        recorded.replay()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_recorded_is_named(device: Device, kind: str) -> None:
    values = to_device(np.array([1.0, -2, 3]), device)
    wrong, words = REFUSED[kind]

    def step() -> Any:
        return wrong(values * 1)

    with pytest.raises(CaptureError, match=f"a step on cuda:0 cannot be recorded: .*{words}.*; ") as caught:
        graph.Graph.record(step, device)
    assert "(<lambda>, test_graph.py:" in str(caught.value)
    assert "train without a graph" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    works(device)


def works(device: Device) -> None:
    """The device does what it is asked for, run and replayed."""
    ones = to_device(np.ones(3), device)
    recorded, found = graph.Graph.record(lambda: ones + 1, device)
    recorded.replay()
    with beside(ones):
        np.testing.assert_array_equal(to_host(ones * 2), to_host(found))


def test_waiting_cannot_be_recorded(device: Device) -> None:
    def step() -> None:
        device.xp.cuda.get_current_stream().synchronize()

    with pytest.raises(CaptureError, match="cudaErrorStreamCaptureUnsupported"):
        graph.Graph.record(step, device)
    works(device)


def test_a_refusal_that_was_caught_spoils_the_recording(device: Device) -> None:
    def step() -> None:
        with suppress(RuntimeError):
            device.xp.cuda.get_current_stream().synchronize()

    with pytest.raises(CaptureError, match="cudaErrorStreamCaptureInvalidated"):
        graph.Graph.record(step, device)
    works(device)


def test_the_layer_is_named(device: Device) -> None:
    class Reading(layers.Layer):
        def output_shape(self, *shapes: Shape) -> Shape:
            return shapes[0]

        def forward(self, x: Tensor) -> Tensor:
            assert float(x.data[0, 0]) >= 0
            return x

    net = layers.Sequential(layers.Flatten(), Reading()).to(device)
    images = Tensor(to_device(np.ones((2, 1, 2, 2), np.float32), device))
    with pytest.raises(CaptureError, match=r"disallowed; in .*Reading.* \(forward, test_graph.py:"):
        graph.Graph.record(lambda: net(images), device)


def test_a_layer_is_named_on_the_way_back(device: Device) -> None:
    images = Tensor(to_device(np.ones((2, 3), np.float32), device), requires_grad=True)
    ones = to_device(np.ones((2, 3), np.float32), device)

    def step() -> None:
        output = autograd.record("reading", images.data * 2, [images], lambda gradient: (float(gradient.sum()),))
        output.backward(ones)

    with pytest.raises(CaptureError, match="disallowed; in the gradient of reading "):
        graph.Graph.record(step, device)


@pytest.mark.parametrize("error", [ShapeError("three axes"), KeyboardInterrupt(), ZeroDivisionError()])
def test_other_errors_come_through(device: Device, error: BaseException) -> None:
    def step() -> None:
        to_device_twice(device)
        raise error

    with pytest.raises(type(error)) as caught:
        graph.Graph.record(step, device)
    assert caught.value is error
    assert gc.isenabled()
    works(device)


def to_device_twice(device: Device) -> Array:
    return device.xp.zeros(3) * 2


def test_collecting_is_as_it_was(device: Device) -> None:
    found = []
    gc.disable()
    try:
        graph.Graph.record(lambda: found.append(gc.isenabled()), device)
        assert not gc.isenabled()
    finally:
        gc.enable()
    graph.Graph.record(lambda: found.append(gc.isenabled()), device)
    assert gc.isenabled()
    assert found == [False, False]


def free_now(device: Device) -> int:
    memory.release(device)
    return int(device.xp.cuda.runtime.memGetInfo()[0])


@pytest.mark.parametrize("first", ["recorded", "result"])
def test_memory_is_given_back(device: Device, first: str) -> None:
    ones = to_device(np.ones(1000), device)
    before = free_now(device)
    recorded, result = graph.Graph.record(lambda: ((ones + 1) * (ones + 2))[:3], device)
    found = {"recorded": recorded, "result": result}
    del recorded, result
    assert free_now(device) < before - 3 * 8000
    found["recorded"].replay()
    del found[first]
    assert free_now(device) < before
    found.clear()
    assert free_now(device) == before


def test_memory_of_a_recording_that_failed_is_given_back(device: Device) -> None:
    ones = to_device(np.ones(1000), device)
    before = free_now(device)
    with pytest.raises(CaptureError):
        graph.Graph.record(lambda: float((ones + 1).sum()), device)
    assert free_now(device) == before


def test_feeds_that_know_the_recording_do_not_keep_it(device: Device) -> None:
    class Holder:
        def __init__(self) -> None:
            self.recorded, _ = graph.Graph.record(lambda: fed(self.values, device) + 1, device)

        def values(self) -> np.ndarray:
            return np.array(1.0)

    holder = Holder()
    holder.recorded.replay()
    seen = weakref.ref(holder.recorded)
    del holder
    gc.collect()
    assert seen() is None


def test_the_graph_goes_before_its_memory(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Any] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            gone.append(self.name)

    monkeypatch.setattr(memory, "drop", lambda pool, own: gone.append((pool, own)))
    recorded = graph.Graph(device, Noted("graph"), "pool", graph._Block(device), cublas.prepare())
    del recorded
    assert gone == ["graph", ("pool", device.xp.cuda.Device(0))]


def test_steps_before_and_after_are_in_order(device: Device) -> None:
    """In the stream of recordings, and out of it: both wait for each other, by events."""
    cupy = device.xp
    outer = cupy.cuda.get_current_stream()
    with graph.stream(device):
        own = cupy.cuda.get_current_stream()
        assert own != outer
        assert own.is_non_blocking
        with graph.stream(device):
            assert cupy.cuda.get_current_stream() is own
        assert cupy.cuda.get_current_stream() is own
    assert cupy.cuda.get_current_stream() == outer
    with graph.stream(device):
        assert cupy.cuda.get_current_stream() is own
    with graph.stream(Device()):
        assert cupy.cuda.get_current_stream() == outer
    with pytest.raises(ZeroDivisionError), graph.stream(device):
        raise ZeroDivisionError
    assert cupy.cuda.get_current_stream() == outer


def test_each_stream_waits_for_the_other(device: Device, log: list[Operation], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, event = device.xp.cuda.Stream, device.xp.cuda.Event
    said: list[tuple[Any, ...]] = []
    record, wait = event.record, stream.wait_event
    monkeypatch.setattr(event, "record", lambda self, own: (said.append(("record", own, self)), record(self, own)))
    monkeypatch.setattr(stream, "wait_event", lambda self, what: (said.append(("wait", self, what)), wait(self, what)))
    for _ in range(2):
        with graph.stream(device):
            own = device.xp.cuda.get_current_stream()
            said.append(("inside",))
        (*_, event_of_the_first), (*_, event_of_the_second) = said[0], said[3]
        assert said == [
            ("record", stream.null, event_of_the_first),
            ("wait", own, event_of_the_first),
            ("inside",),
            ("record", own, event_of_the_second),
            ("wait", stream.null, event_of_the_second),
        ]
        said.clear()


def test_feeds_of_another_device_are_refused(device: Device) -> None:
    with pytest.raises(CaptureError, match="recorded on cuda:0 is fed an array on cpu; keep all of it on one device"):
        graph.Graph.record(lambda: fed(lambda: np.zeros(3), Device()), device)


@pytest.mark.parametrize("index", [0, 1])
def test_on_each_of_two_devices(device: Device, index: int) -> None:
    cupy = device.xp
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    own = Device("cuda", index)
    with cupy.cuda.Device(1 - index):
        total = to_device(np.zeros(3), own)
        recorded, found = graph.Graph.record(lambda: total.__iadd__(fed(lambda: np.array(2.0), own)) * 1, own)
        recorded.replay()
        recorded.replay()
        assert cupy.cuda.runtime.getDevice() == 1 - index
    assert device_of(found) == own
    np.testing.assert_array_equal(to_host(found), [4, 4, 4])


# What the stand-in alone can show.


@pytest.fixture
def small() -> Iterator[CupyStandIn]:
    """A GPU with 1 MiB of memory."""
    cupy = CupyStandIn(emulated_cupy().emulator, devices=1, memory_bytes=1 << 20)
    with use_in_place_of_cupy(cupy):
        yield cupy


def test_a_recording_that_goes_after_its_device() -> None:
    cupy = CupyStandIn(emulated_cupy().emulator)
    with use_in_place_of_cupy(cupy):
        ones = cupy.ones(2)
        recorded, _ = graph.Graph.record(lambda: ones * 2 + 1, Device("cuda", 0))
        recorded.replay()
    taken = cupy.cuda.runtime.memGetInfo()[0]
    del recorded
    assert cupy.cuda.runtime.memGetInfo()[0] > taken


def test_memory_that_runs_out_while_recording(small: CupyStandIn) -> None:
    device = Device("cuda", 0)
    start = small.zeros(1 << 15)

    def step() -> Array:
        kept = [start]
        for _ in range(4):
            kept.append(kept[-1] + 1)
        return kept[-1]

    before = small.cuda.runtime.memGetInfo()
    with pytest.raises(MemoryError, match="Out of memory allocating 262,144 bytes") as caught:
        graph.Graph.record(step, device)
    assert is_out_of_memory(caught.value)
    del caught
    memory.release(device)
    assert small.cuda.runtime.memGetInfo() == before
    works(device)


def test_steps_before_make_room(small: CupyStandIn) -> None:
    """What eager steps have left in the default pool would not leave room for the recording's own memory."""
    device, start = Device("cuda", 0), small.zeros(1 << 15)

    def step() -> Array:
        return start + 1 + 1

    with graph.stream(device):
        step()
    recorded, found = graph.Graph.record(step, device)
    recorded.replay()
    np.testing.assert_array_equal(found.get(), 2)


def test_copies_take_turns(device: Device, log: list[Operation], monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for one copy the host waits for the GPU in each step; without waiting it would spoil what is under way."""

    def kinds() -> list[str]:
        number = [0.0]
        recorded, _ = graph.Graph.record(lambda: fed(lambda: np.array(number[0]), device) + 1, device)
        del log[:]
        for _ in range(6):
            number[0] += 1
            recorded.replay()
        return [operation.kind for operation in log]

    assert "synchronize" not in kinds()
    monkeypatch.setattr(graph, "_COPIES", 1)
    assert kinds().count("synchronize") == 5
    monkeypatch.setattr(graph._PinnedCopy, "wait", lambda self: None)
    with pytest.raises(KernelError, match="pinned memory was written to while a copy from it may be under way"):
        kinds()


def test_an_input_that_is_gone(device: Device, log: list[Operation]) -> None:
    state = SimpleNamespace(total=to_device(np.zeros(2), device))
    recorded, _ = graph.Graph.record(lambda: state.total + 1, device)
    state.total = to_device(np.ones(2), device)
    with pytest.raises(KernelError, match="works on an array from before the capture, and that array is gone"):
        recorded.replay()


def test_a_pool_that_is_gone(device: Device, log: list[Operation]) -> None:
    ones = to_device(np.ones(2), device)
    recorded, _ = graph.Graph.record(lambda: ones + 1, device)
    recorded._kept["pool"] = device.xp.cuda.MemoryPool()
    with pytest.raises(KernelError, match="launched whose memory pool is gone"):
        recorded.replay()
