"""Which rivals there are, and that each computes its own way."""

import builtins
import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gpucnn.backend import Device
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.rivals import Rival, computing, rivals
from gpucnn.errors import ArgumentError, DeviceError
from gpucnn.kernels.ways import MODES, mode

CPU, GPU = Device(), Device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    pytorch._import.cache_clear()
    yield
    pytorch._import.cache_clear()


def import_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    real = importlib.import_module

    def import_module(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise error
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", import_module)


def torch_is(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> SimpleNamespace:
    """A module in PyTorch's place, which notes how many threads it is to have."""
    threads = [7]
    backends = SimpleNamespace(
        cudnn=SimpleNamespace(allow_tf32=True, benchmark=False), cuda=SimpleNamespace(matmul=SimpleNamespace())
    )
    module = SimpleNamespace(
        __version__="9.9", cuda=SimpleNamespace(is_available=lambda: gpu), backends=backends, threads=threads,
        get_num_threads=lambda: threads[-1], set_num_threads=threads.append,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", module)  # type: ignore[arg-type]
    return module


def test_without_pytorch_ours_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    import_raises(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    monkeypatch.setattr("gpucnn.benchmark.rivals.missing", lambda: "")
    assert list(map(str, rivals(CPU))) == ["gpucnn numpy", "gpucnn jit", "gpucnn jit captured"]
    assert pytorch.missing(CPU) == "PyTorch is not installed: pip install torch"
    with pytest.raises(DeviceError, match="PyTorch is not installed: pip install torch"):
        pytorch.torch()


@pytest.mark.parametrize(
    "error", [OSError("libtorch.so: no such file"), ModuleNotFoundError("No module named 'sympy'", name="sympy")]
)
def test_a_broken_pytorch_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    import_raises(monkeypatch, error)
    assert pytorch.missing(CPU) == f"PyTorch does not work ({error}): pip install torch"


def test_with_pytorch_there_are_two_baselines_with_our_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCNN_NUM_THREADS", "3")
    module = torch_is(monkeypatch, gpu=False)
    assert list(map(str, rivals(CPU, ["numpy"]))) == ["gpucnn numpy", "PyTorch eager", "PyTorch channels_last"]
    assert pytorch.torch() is module
    assert module.threads == [7, 3]
    assert module.backends.cudnn.allow_tf32 is module.backends.cuda.matmul.allow_tf32 is False


def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_is(monkeypatch, gpu=False)
    assert list(map(str, rivals(GPU))) == ["gpucnn cuda", "gpucnn cuda graph"]
    assert pytorch.missing(GPU) == "PyTorch 9.9 sees no GPU: install its CUDA build, see https://pytorch.org"
    pytorch._import.cache_clear()
    torch_is(monkeypatch, gpu=True)
    assert list(map(str, rivals(GPU))) == ["gpucnn cuda", "gpucnn cuda graph", "PyTorch eager", "PyTorch channels_last"]


def test_jit_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import_raises(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    monkeypatch.setattr(
        "gpucnn.benchmark.rivals.missing", lambda: 'llvmlite is not installed: pip install "gpucnn[fast]"'
    )
    assert list(map(str, rivals(CPU))) == ["gpucnn numpy"]
    with pytest.raises(ArgumentError) as raised:
        rivals(CPU, ["numpy", "jit"])
    assert str(raised.value) == 'jit was asked for, but llvmlite is not installed: pip install "gpucnn[fast]"'


@pytest.mark.parametrize("variant", [*MODES, "jit captured"])
def test_each_computes_its_own_way(variant: str) -> None:
    before = mode()
    assert (
        computing(Rival("gpucnn", variant), lambda word: f"{word} {mode()}")("in") == f"in {variant.partition(' ')[0]}"
    )
    assert mode() == before


def test_names() -> None:
    rival = Rival("PyTorch", "channels_last")
    assert Rival.of(str(rival)) == rival
    assert not rival.ours
    assert computing(rival, builtins.len) is len
