"""How a way is chosen: by arrays and mode, in one place, from tables whose functions are all called alike."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import kernels
from gpucnn.kernels import ways
from gpucnn.kernels.ways import Way, choose, way_of
from tests.backends import Backend

FOLDER = Path(kernels.__file__).parent
FLOAT = np.zeros(3, np.float32)
DOUBLE = np.zeros(3, np.float64)
needs_compiler = pytest.mark.skipif(ways.missing() != "", reason=ways.missing())

CHOOSES = re.compile(r"isinstance\(.*\bnp\.ndarray|\bis np\b|\bis not np\b|\baccepts\(|type\(\w+\) is")
CHECKS = {
    "ways.py": "chooses",
    "gemm.py": "multiplies on either",
    "compiler/loop.py": "checks the arrays of a call",
    "compiler/recording.py": "looks for the arrays that a step gives",
}
"""Files that ask what an array is, and why they may."""


def tables() -> dict[str, dict[Way, Callable[..., Any]]]:
    """Every table from way to function in gpucnn.kernels, by its module and name."""
    found = {}
    for module_info in pkgutil.walk_packages(kernels.__path__, "gpucnn.kernels."):
        if module_info.name.endswith((".builder", ".values", ".dispatch")):  # these need llvmlite
            continue
        for name, value in vars(importlib.import_module(module_info.name)).items():
            is_table = isinstance(value, dict) and Way.PLAIN in value
            if is_table and all(inspect.isfunction(function) for function in value.values()):
                found[f"{module_info.name}.{name}"] = value
    return found


TABLES = tables()


@pytest.mark.parametrize("name", TABLES)
def test_all_ways_of_an_operation_are_called_alike(name: str) -> None:
    signatures = {way: inspect.signature(function, eval_str=True) for way, function in TABLES[name].items()}
    plain = signatures[Way.PLAIN]
    for way, signature in signatures.items():
        assert str(signature) == str(plain), f"{name}: {way} takes {signature}, the plain way {plain}"


def test_nothing_else_asks_what_an_array_is() -> None:
    asking = [
        f"{path.relative_to(FOLDER)}:{number}: {line.strip()}"
        for path in sorted(FOLDER.rglob("*.py"))
        if path.relative_to(FOLDER).as_posix() not in CHECKS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if CHOOSES.search(line)
    ]
    assert asking == []


@needs_compiler
def test_float32_of_numpy_is_compiled_and_all_else_is_not() -> None:
    with ways.use("jit"):
        assert way_of(FLOAT, None) is Way.COMPILED
        others = (DOUBLE, FLOAT.astype("f2"), FLOAT.astype(">f4"), FLOAT.view(np.recarray), np.float32(1))
        assert [way_of(FLOAT, other) for other in others] == [Way.NUMPY] * 5


@pytest.mark.parametrize(("mode", "way"), [("numpy", Way.NUMPY), ("plain", Way.PLAIN)])
def test_the_mode_decides_on_a_cpu(mode: str, way: Way) -> None:
    with ways.use(mode):
        assert [way_of(FLOAT), way_of(DOUBLE), way_of(FLOAT, DOUBLE)] == [way] * 3


@pytest.mark.parametrize("mode", ways.MODES)
def test_arrays_on_a_gpu_go_to_our_kernels_in_every_mode(mode: str) -> None:
    backend = Backend("emulated")
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), ways.use(mode):
        arrays = [backend.array(np.zeros(3, dtype)) for dtype in ("f4", "f8", "f2")]
        assert [way_of(None, array) for array in arrays] == [Way.CUDA, Way.CUDA, Way.PLAIN]


def test_a_way_that_declines_hands_on_to_the_next() -> None:
    table = {Way.NUMPY: sum, Way.PLAIN: sum}
    with ways.use("numpy"):
        assert choose(table, DOUBLE) is Way.NUMPY
        suits = {Way.NUMPY: lambda task: task > 3}
        assert choose(table, DOUBLE, task=4, suits=suits) is Way.NUMPY
        assert choose(table, DOUBLE, task=3, suits=suits) is Way.PLAIN
        assert choose({Way.PLAIN: sum}, DOUBLE) is Way.PLAIN
    with ways.use("plain"):
        assert choose(table, DOUBLE, task=4, suits=suits) is Way.PLAIN


def test_a_table_without_a_plain_way_is_our_mistake() -> None:
    with ways.use("plain"), pytest.raises(AssertionError, match="every operation has a plain way"):
        choose({Way.NUMPY: sum}, DOUBLE)
