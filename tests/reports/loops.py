"""Reports on sizes that make a library's loops or memory explode, and on processors that are passed over."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop, machine_code, processor
from tests.reports.report import Report

MOST_LINES, MOST_BYTES = 10_000, 10_000_000
"""Of a kernel's code before it is compiled, and of memory: more than it takes, and far less than it took."""


def _tensor(*shape: int) -> Tensor:
    rng = np.random.default_rng(20261129)
    return Tensor(rng.integers(-4, 5, shape).astype(np.float32), requires_grad=True)


def _both_ways(folder: Path, compute: Callable[[], Tensor], expected: Callable[[], np.ndarray]) -> None:
    """Forward and back with compiled loops, where they work, and with NumPy, with little code and little memory."""
    for mode in ways.MODES[: 1 if ways.missing() else 2]:
        with pytest.MonkeyPatch.context() as patch, ways.use(mode):
            written = _code_written_into(folder, patch) if mode == "jit" else []
            compute().sum().backward()
            assert all(code.count("\n") < MOST_LINES for code in written)
            tracemalloc.start()
            output = compute()
            output.sum().backward()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        np.testing.assert_array_equal(output.numpy(), expected())
        assert peak < MOST_BYTES, f"{mode}: {peak} bytes"


def _code_written_into(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """Of the kernels that are compiled from now on, all that are used: they are kept in that folder."""
    written: list[str] = []
    original = machine_code._machine_code
    patch.setenv("GPUCNN_CACHE_DIR", str(folder))
    patch.setattr(loop, "_functions", {})
    patch.setattr(machine_code, "_machine_code", lambda text: written.append(text) or original(text))
    return written


def _pool_along_a_signal(length: int, kernel: int, stride: int) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        x = _tensor(1, 2, length)
        windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), kernel, axis=2)[:, :, ::stride]
        _both_ways(folder, lambda: F.max_pool1d(x, kernel, stride), lambda: windows.max(axis=3))

    return check


def _wide_windows(folder: Path) -> None:
    x = _tensor(1, 1, 400, 400)
    blocks = x.numpy().reshape(1, 1, 20, 20, 20, 20)
    _both_ways(folder, lambda: F.max_pool2d(x, 20), lambda: blocks.max(axis=(3, 5)))


def _window_of_the_whole_image(folder: Path) -> None:
    x = _tensor(1, 3, 60, 1100)
    _both_ways(folder, lambda: F.max_pool2d(x, (1, 1100)), lambda: x.numpy().max(axis=3, keepdims=True))


def _patches(folder: Path) -> None:
    """A kernel as large as its stride: 256 phases on the way back, all of them alike."""
    x, weight = _tensor(2, 3, 64, 64), _tensor(4, 3, 16, 16)
    patches = x.numpy().astype(np.float64).reshape(2, 3, 4, 16, 4, 16)
    _both_ways(
        folder,
        lambda: F.conv2d(x, weight, stride=16),
        lambda: np.einsum("ncyrxs,kcrs->nkyx", patches, weight.numpy()),
    )


def _stride_beyond_the_image(folder: Path) -> None:
    x, weight = _tensor(1, 1, 6, 6), _tensor(1, 1, 3, 3)
    corner = (x.numpy()[:, :, :3, :3] * weight.numpy()).sum(axis=(2, 3), keepdims=True)
    _both_ways(folder, lambda: F.conv2d(x, weight, stride=100_000), lambda: corner)


def _taps_beyond_the_image(folder: Path) -> None:
    x, weight = _tensor(1, 1, 6, 6), _tensor(1, 1, 3, 3)
    middle = weight.numpy()[0, 0, 1, 1]
    _both_ways(folder, lambda: F.conv2d(x, weight, padding=100_000, dilation=100_000), lambda: x.numpy() * middle)


def _no_features_of_the_processor(folder: Path) -> None:
    binding = pytest.importorskip("llvmlite").binding
    features = type(binding.get_host_cpu_features())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binding, "get_host_cpu_features", features)
        patch.setattr(binding, "get_process_triple", lambda: "arm64-apple-darwin24.4.0")
        patch.setattr(binding, "get_host_cpu_name", lambda: "apple-m1")
        machine = processor.supported_processor.__wrapped__()
    assert machine is not None
    assert (machine.lanes, machine.features) == (4, "+neon")


SHORT_CODE = "below a second and 300 MB at first use: long rows and large windows are loops at run time"

REPORTS = [
    Report("max pooling along 16,000 samples", SHORT_CODE, "jax-ml/jax#2777", _pool_along_a_signal(16_000, 2, 2)),
    Report("max pooling along a second of music", SHORT_CODE, "", _pool_along_a_signal(44_100, 3, 1)),
    Report("windows of 25 along 16,000 samples", SHORT_CODE, "", _pool_along_a_signal(16_000, 25, 1)),
    Report("windows of 800, every 100", SHORT_CODE, "", _pool_along_a_signal(16_000, 800, 100)),
    Report("windows of 20x20", SHORT_CODE, "tinygrad/tinygrad#87", _wide_windows),
    Report("a window of 1x1100, the whole row", SHORT_CODE, "apache/mxnet#4376", _window_of_the_whole_image),
    Report("patches of 16x16", "phases of a stride that are alike share one loop", "", _patches),
    Report("a stride of 100,000 on an image of 6x6", "it costs what a stride of 6 does", "", _stride_beyond_the_image),
    Report("a dilation of 100,000 on an image of 6x6", "it costs what one of 6 does", "", _taps_beyond_the_image),
    Report(
        "Apple Silicon, where LLVM tells the processor's name, but no features",
        "compiled loops are in use, with NEON",
        "JuliaSIMD/VectorizationBase.jl#21",
        _no_features_of_the_processor,
    ),
]
