"""The type checker sees every call into compiled loops: wrong ones that are planted are all found, and nothing else is."""

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpucnn import kernels

ROOT = Path(__file__).parents[2]
FINDING = re.compile(r"^[^:]*planted\.py:(\d+): error: (.*)$", re.MULTILINE)

BY_HAND = {
    'compiled_linear.linear_loop("rows", 3, True, False, processor())': (
        'Argument 1 to "linear_loop" has incompatible type "str"; expected "int"  [arg-type]'
    ),
    "compiled_linear.linear_loop(3, 3.5, True, False, processor())": (
        'Argument 2 to "linear_loop" has incompatible type "float"; expected "int"  [arg-type]'
    ),
    "compiled_linear.linear_loop(3, 3, True, False)": (
        'Missing positional argument "machine" in call to "linear_loop"  [call-arg]'
    ),
    "compiled_linear.linear_loops(3, 3, True, False, processor())": (
        'Module has no attribute "linear_loops"; maybe "linear_loop"?  [attr-defined]'
    ),
    "run(compiled_linear.linear_loop, 3, [ones])": (
        'Argument 1 to "run" has incompatible type "Callable[[int, int, bool, bool, Processor], Loop]"; expected "Loop"  '
        "[arg-type]"
    ),
    "run(compiled_linear.linear_loop(3, 3, False, False, processor()), 3, [ones, ones, None])": "",
}
"""Calls, and what is wrong with each; "" for what is right."""

HEADER = """\
import numpy as np

from gpucnn.kernels.compiler.loop import run
from gpucnn.kernels.compiler.processor import processor
from gpucnn.kernels.linear import compiled as compiled_linear
"""


def makers() -> dict[str, list[str]]:
    """The functions that make loops, by module."""
    found: dict[str, list[str]] = {}
    for module_info in pkgutil.walk_packages(kernels.__path__, "gpucnn.kernels."):
        if module_info.name.endswith((".builder", ".values", ".dispatch")):  # these need llvmlite
            continue
        for name, value in vars(importlib.import_module(module_info.name)).items():
            made = getattr(value, "__wrapped__", None)
            if made is not None and made.__annotations__.get("return") == "Loop":
                found.setdefault(made.__module__, []).append(name)
    return found


def findings(tmp_path: Path, source: str) -> dict[int, list[str]]:
    """What mypy, as the project has set it up, says of a file, by line. With its cache, which spares most of the time."""
    planted = tmp_path / "planted.py"
    planted.write_text(source)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(planted)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert checked.stderr == ""
    by_line: dict[int, list[str]] = {}
    for line, text in FINDING.findall(checked.stdout):
        by_line.setdefault(int(line), []).append(text)
    count = sum(map(len, by_line.values()))
    assert f"Found {count} error{'s' * (count != 1)} in 1 file " in checked.stdout, checked.stdout
    return by_line


@pytest.mark.sample(0)
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed: pip install mypy")
def test_wrong_calls_into_compiled_loops_are_found(tmp_path: Path) -> None:
    modules = makers()
    assert sum(map(len, modules.values())) > 15
    lines = [*HEADER.splitlines(), *(f"import {module}" for module in modules), "ones = np.ones(3, np.float32)"]
    expected: dict[int, list[str]] = {}
    for call, text in BY_HAND.items():
        lines.append(call)
        if text:
            expected[len(lines)] = [text]
    found_by_machine = {}
    for module, names in modules.items():
        for name in names:
            lines.append(f'{module}.{name}("rows")')
            found_by_machine[len(lines)] = name
        lines.append(f"{module}.no_such_loop()")
        expected[len(lines)] = ['Module has no attribute "no_such_loop"  [attr-defined]']
    found = findings(tmp_path, "\n".join(lines) + "\n")
    for line, name in found_by_machine.items():
        assert line in found, f"{lines[line - 1]}: {name} takes anything"
    assert {line: texts for line, texts in found.items() if line not in found_by_machine} == expected
