"""The sessions of nox are those that CONTRIBUTING.md tells of, and `nox` alone runs or names every one."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
ROWS = dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
"""Each session of the table, and whether `nox` alone runs it."""


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    pytest.importorskip("nox", reason="needs nox, of the extra dev")
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_every_session(noxfile: ModuleType) -> None:
    assert sorted(ROWS) == sorted(noxfile.nox.registry.get())


def test_nox_alone_runs_what_the_table_says_or_tells_why_not(noxfile: ModuleType) -> None:
    run, left_out = set(noxfile.nox.options.sessions), set(noxfile.LEFT_OUT)
    assert run | left_out == set(ROWS)
    assert not run & left_out
    assert {name for name, alone in ROWS.items() if alone == "no"} <= left_out
    assert left_out - {name for name, alone in ROWS.items() if alone == "no"} <= {
        "emulated",
        "compile",
        "browser",
    }  # for want of g++, NVRTC, Chromium
