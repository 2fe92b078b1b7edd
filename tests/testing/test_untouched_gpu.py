"""The GPU that computes nothing: its arrays look like those of one that does, and its log has the bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, models
from gpucnn.backend import choose_device, cuda, to_host
from gpucnn.kernels import kernel as declared
from gpucnn.kernels.elementwise import cuda as elementwise
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.kernel import NARROW, Kernel, Variant
from gpucnn.kernels.update import cuda as update
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator
from gpucnn.testing.kernel_traffic import traffic
from gpucnn.testing.operation_log import Operation
from gpucnn.testing.untouched_gpu import untouched_gpu

F4 = np.float32
CALLS: dict[str, Callable[[Any], Any]] = {
    "add": lambda xp: xp.ones((3, 4), F4) + xp.ones(4, F4),
    "add a number": lambda xp: xp.ones((3, 4), F4) * 2,
    "number first": lambda xp: 1.0 / xp.ones(3, F4),
    "float64": lambda xp: xp.ones(3, F4) * xp.ones(3, np.float64),
    "compare": lambda xp: xp.ones((2, 3), F4) > 0,
    "in place": lambda xp: xp.ones((2, 3), F4).__iadd__(1),
    "out": lambda xp: xp.maximum(xp.ones((2, 3), F4), 0, out=xp.empty((2, 3), F4)),
    "two results": lambda xp: xp.modf(xp.ones(3, F4))[1],
    "empty": lambda xp: xp.ones((0, 3), F4) + 1,
    "sum": lambda xp: xp.ones((2, 3, 4), F4).sum(axis=(0, -1)),
    "sum of all": lambda xp: xp.ones((2, 3), F4).sum(),
    "sum of bools": lambda xp: xp.ones((2, 3), bool).sum(axis=0),
    "sum in place": lambda xp: xp.ones((2, 3), F4).sum(axis=0, out=xp.empty(3, F4)),
    "sum kept": lambda xp: xp.sum(xp.ones((2, 3), F4), 1, keepdims=True),
    "sum in another dtype": lambda xp: xp.ones((2, 3), F4).sum(1, np.float64),
    "mean of ints": lambda xp: xp.ones((2, 3), np.int64).mean(axis=1),
    "argmax": lambda xp: xp.ones((2, 3), F4).argmax(axis=1),
    "all": lambda xp: xp.isfinite(xp.ones((2, 3), F4)).all(),
    "matmul": lambda xp: matmul(xp.ones((2, 3), F4), xp.ones((3, 4), F4)),
    "matmul transposed": lambda xp: matmul(xp.ones((3, 2), F4).T, xp.ones((3, 4), F4), out=xp.empty((2, 4), F4)),
    "matmul of slices": lambda xp: matmul(xp.ones((4, 6), F4)[::2, ::2], xp.ones((3, 4), F4)),
    "stack of matrices": lambda xp: matmul(xp.ones((5, 2, 3), F4), xp.ones((5, 3, 4), F4)),
    "matrix for many": lambda xp: matmul(xp.ones((2, 3), F4), xp.ones((5, 3, 4), F4)),
    "second matrix for many": lambda xp: matmul(xp.ones((5, 2, 3), F4), xp.ones((3, 4), F4)),
    "product of ints": lambda xp: xp.ones((2, 3), np.int64) @ xp.ones((3, 4), np.int64),
    "astype": lambda xp: xp.ones((2, 3), F4).astype(np.int64),
    "astype transposed": lambda xp: xp.ones((2, 3), F4).T.astype(np.float64),
    "astype permuted": lambda xp: xp.ones((2, 3, 4), F4).transpose(1, 0, 2).astype(np.float64),
    "astype nothing": lambda xp: xp.ones((2, 3), F4).astype(F4, copy=False),
    "copy": lambda xp: xp.ones((2, 3), F4).T.copy(),
    "cupy.copy": lambda xp: xp.copy(xp.ones((2, 3), F4).T),
    "contiguous": lambda xp: xp.ascontiguousarray(xp.ones((2, 3), F4).T),
    "contiguous already": lambda xp: xp.ascontiguousarray(xp.ones((2, 3), F4)),
    "flatten": lambda xp: xp.ones((2, 3), F4).T.flatten(),
    "reshape": lambda xp: xp.ones((2, 3), F4).reshape(3, 2),
    "reshape that copies": lambda xp: xp.ones((2, 3), F4).T.reshape(6),
    "view": lambda xp: xp.ones((2, 3), F4)[1:, ::2].swapaxes(0, 1),
    "take": lambda xp: xp.ones((5, 3), F4)[xp.zeros(2, np.int64)],
    "mask": lambda xp: xp.zeros((5, 3), F4)[xp.zeros(5, bool)],
    "where": lambda xp: xp.where(xp.ones((2, 3), F4) > 0, xp.ones(3, F4), 0),
    "concatenate": lambda xp: xp.concatenate([xp.ones((2, 3), F4), xp.ones((1, 3), F4)]),
    "stack of many": lambda xp: xp.stack([xp.ones(3, F4)] * 9, axis=1),
    "pad": lambda xp: xp.pad(xp.ones((2, 3), F4), 1),
    "repeat": lambda xp: xp.ones(3, F4).repeat(2),
    "cumsum out": lambda xp: xp.cumsum(xp.ones(3, F4), out=xp.empty(3, F4)),
    "arange": lambda xp: xp.arange(5),
    "upload": lambda xp: xp.asarray([1.0, 2.0]),
    "as float64": lambda xp: xp.array(xp.ones(3, F4), np.float64),
    "like": lambda xp: xp.zeros_like(xp.ones((2, 3), F4).T),
}


def filled(xp: Any) -> Any:
    array = xp.empty((3, 4), F4)
    array[1] = 5
    array[:, 2] = xp.ones(3, F4)
    array[xp.zeros(2, np.int64)] = 1
    array[xp.zeros(2, np.int64)] = xp.ones((2, 4), F4)
    array[1:] += 1
    xp.copyto(array, xp.ones(4, F4))
    array.set(np.zeros((3, 4), F4))
    array.T.get()
    return array


CALLS["elements"] = filled


def seen(xp: Any, call: Callable[[Any], Any]) -> tuple[Any, ...]:
    with cuda.use_in_place_of_cupy(xp), xp.operation_log.recorded() as operations:
        found = call(xp)
    return found.shape, found.dtype, found.strides, [operation[:3] for operation in operations]


@pytest.mark.parametrize("name", CALLS)
def test_arrays_and_log_are_those_of_arrays_that_compute(name: str) -> None:
    expected = seen(CupyStandIn(Emulator()), CALLS[name])
    with untouched_gpu() as xp:
        assert seen(xp, CALLS[name]) == expected


@pytest.mark.parametrize("name", CALLS)
def test_every_launch_product_and_transfer_says_what_it_moves(name: str) -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        CALLS[name](xp)
    assert [one for one in operations if one.kind != "synchronize" and one.read + one.written == 0] == []


WORK: dict[str, tuple[int, int, int]] = {
    "add": (48 + 16, 48, 12),
    "add a number": (48, 48, 12),
    "compare": (24, 6, 6),
    "sum": (96, 12, 24),
    "sum in place": (24, 12, 6),
    "matmul transposed": (24 + 48, 32, 2 * 2 * 3 * 4),
    "matmul": (24 + 48, 32, 2 * 2 * 3 * 4),
    "stack of matrices": (5 * 24 + 5 * 48, 5 * 32, 2 * 5 * 2 * 3 * 4),
    "second matrix for many": (5 * 24 + 48, 5 * 32, 2 * 5 * 2 * 3 * 4),
    "matrix for many": (24 + 5 * 48, 5 * 32, 2 * 5 * 2 * 3 * 4),
    "astype": (24, 48, 0),
    "reshape that copies": (24, 24, 0),
    "take": (24 + 16, 24, 0),
    "where": (6 + 12, 24, 6),
    "stack of many": (108, 108, 0),
    "upload": (0, 16, 0),
    "as float64": (12, 24, 0),
}
"""Bytes read and written, and FLOPs, of the last operation of some of these calls."""


@pytest.mark.parametrize("name", WORK)
def test_bytes_and_flops(name: str) -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        CALLS[name](xp)
    assert operations[-1][3:] == WORK[name]
    assert xp.operation_log[-1] is operations[-1]


def test_elements_move_what_is_set() -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        filled(xp)
    moved = [(one.name, one.read, one.written) for one in operations]
    assert [one for one in moved if one[0] == "put"] == [("put", 16, 32), ("put", 16 + 32, 32)]
    assert ("fill", 0, 16) in moved
    assert ("copy", 12, 12) in moved
    assert ("copy", 16, 48) in moved  # copyto repeats a row
    assert moved[-2:] == [("copy", 48, 48), ("get", 48, 0)]


def test_operands_that_are_copied_are_told_apart_from_the_product() -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        CALLS["matmul of slices"](xp)
    assert [one[:2] + one[3:] for one in operations[-2:]] == [
        ("launch", "copy", 24, 24, 0),
        ("product", "gemm", 24 + 48, 32, 48),
    ]


def test_what_a_view_repeats_is_read_once() -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        xp.broadcast_to(xp.ones(4, F4), (1000, 4)) + 1
    assert operations[-1].read <= 512


@pytest.mark.parametrize(
    "call",
    [
        lambda xp: xp.ones((2, 3), F4).__iadd__(xp.ones((5, 2, 3), F4)),
        lambda xp: xp.ones(3, np.int64).__iadd__(xp.ones(3, F4)),
        lambda xp: xp.ones((2, 3), F4).__setitem__(0, xp.ones(4, F4)),
        lambda xp: xp.copyto(xp.ones(3, F4), xp.ones((2, 3), F4)),
        lambda xp: xp.ones((2, 3), F4).sum(axis=2),
        lambda xp: xp.ones((2, 3), F4).sum(axis=0, out=xp.empty(4, F4)),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[Any], Any]) -> None:
    refusals = (ValueError, TypeError, IndexError)
    with pytest.raises(refusals):
        call(CupyStandIn(Emulator()))
    with untouched_gpu() as xp, pytest.raises(refusals):
        call(xp)


def test_it_is_taken_for_a_gpu_that_works_and_forgotten_afterwards() -> None:
    with untouched_gpu() as xp:
        assert str(choose_device("cuda").device) == "cuda:0"
        assert len(xp.operation_log) == 0
        logits = models.LeNet5().to("cuda")(Tensor(xp.empty((2, 1, 32, 32), F4)))
        np.testing.assert_array_equal(to_host(logits.data), np.zeros((2, 10), F4))
    assert choose_device("auto").device.kind == "cpu" or type(choose_device("cuda").device.xp).__name__ == "module"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_large_arrays_take_no_memory() -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    with untouched_gpu() as xp:
        before, large = pages(), [xp.empty((64, 1 << 20), F4) for _ in range(4)]  # 1 GB
        large[0] += large[1]
        large[2][...] = large[3].sum(axis=0)
        large.append(xp.ascontiguousarray(large[0].T).astype(np.float64))
        matmul(large[0][:, : 1 << 19], large[1][:, : 1 << 19].T)
        assert pages() - before < 10_000  # 40 MB


def test_nested_recordings_hear_the_same() -> None:
    with untouched_gpu() as xp, xp.operation_log.recorded() as outer:
        array = xp.ones(3, F4)
        with xp.operation_log.recorded() as inner:
            array + 1
    assert inner == [Operation("launch", "add", (3,), 12, 12, 3)]
    assert outer[-1] == xp.operation_log[-1] == inner[-1]


# What kernels move.


KERNELS: dict[str, tuple[Callable[[Any], Any], tuple[int, int, int]]] = {
    "bias_relu": (lambda xp: elementwise.relu(xp.empty(4, F4)), (16, 16, 4)),
    "bias_relu_gradient": (lambda xp: elementwise.relu_gradient(xp.empty(4, F4), xp.empty(4, F4)), (32, 16, 4)),
    "sgd": (lambda xp: update.sgd(*(xp.empty(4, F4) for _ in range(4)), nesterov=False), (4 * 16, 2 * 16, 4)),
    "sgd without momentum": (
        lambda xp: update.sgd(xp.empty(4, F4), xp.empty(4, F4), None, xp.empty(4, F4), nesterov=False),
        (3 * 16, 16, 4),
    ),
    "adam": (lambda xp: update.adam(*(xp.empty(4, F4) for _ in range(5))), (5 * 16, 3 * 16, 4)),
}
"""Bytes read and written, and elements: what an optimizer updates it reads as well."""


@pytest.mark.parametrize("name", KERNELS)
def test_what_our_kernels_move(name: str) -> None:
    call, expected = KERNELS[name]
    with untouched_gpu() as xp, xp.operation_log.recorded() as operations:
        call(xp)
    assert operations[-1].name == name.partition(" ")[0]
    assert operations[-1][3:] == expected


SOURCE = """
__device__ A other(T* x) { return x[0]; }
extern "C" __global__ void moves(T* x, T* y, T* z, const T* w)
{
    // here x[0] is not read
    x[w[0] == 1 ? 0 : 1] = w[1];
    y[0] += w[0];
    if (z[0] == 2) { z[1] = 3; }
}
"""


def test_a_kernel_s_source_tells_what_it_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "KERNELS", {})
    source = tmp_path / "moves.cu"
    source.write_text(SOURCE)
    kernel = Kernel(source, "moves", "T* x, T* y, T* z, const T* w")
    x, y, z, w = (np.zeros(size, F4) for size in (1, 10, 100, 1000))
    assert traffic(kernel, Variant(np.dtype(F4), NARROW), (x, y, z, w)) == (4 * 1110, 4 * 111, 1000)
