"""A folder or a file called cupy where Python was started: it is told, and what moves it out of the way."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucnn.backend import choose_device, cuda
from gpucnn.backend.diagnosis import Finding, diagnose
from gpucnn.errors import DeviceError
from gpucnn.kernels import ways

HAS_CUPY = importlib.util.find_spec("cupy") is not None


@pytest.fixture
def here(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where Python looks first, and nothing of CuPy known yet."""
    monkeypatch.syspath_prepend(str(in_tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(importlib.metadata, "distributions", list)
    caches = (cuda._import_cupy, cuda.find_problem)
    for cache in caches:
        cache.cache_clear()
    yield in_tmp_path
    sys.modules.pop("cupy", None)
    for cache in caches:
        cache.cache_clear()


def cupy_findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose() if "cupy" in finding.name.lower()}


@pytest.mark.skipif(HAS_CUPY, reason="the installed CuPy goes before a folder without a module")
def test_a_folder_without_a_module_is_no_cupy(here: Path) -> None:
    (here / "cupy").mkdir()
    with pytest.raises(DeviceError, match='device "cuda" cannot be used: CuPy is not installed, and the folder .*cupy, which Python takes for it, is not CuPy; fix: pip install'):  # fmt: skip
        choose_device("cuda")
    assert choose_device("auto").reason.endswith("/cupy, which Python takes for it, is not CuPy")
    found = cupy_findings()
    assert list(found) == ["CuPy"]
    assert found["CuPy"].value == f"not installed; the folder {here / 'cupy'}, which Python takes for it, is not CuPy"
    assert (found["CuPy"].problem, (found["CuPy"].fix or "")[:19]) == (None, 'pip install "gpucnn')


@pytest.mark.parametrize("source", ["", "print()", "import no_such_library", "raise RuntimeError('mine')", "import sys; sys.exit()"])  # fmt: skip
@pytest.mark.parametrize("file", ["cupy.py", "cupy/__init__.py"])
def test_a_module_of_that_name_is_in_the_way(file: str, source: str, here: Path) -> None:
    (here / file).parent.mkdir(exist_ok=True)
    (here / file).write_text(source)
    place = here / file.removesuffix("/__init__.py")
    fix = "give it another name, or start Python in another folder"
    with pytest.raises(DeviceError) as raised:
        choose_device("cuda")
    cause = f"{place} is in the way of CuPy: Python finds it first"
    assert str(raised.value) == f'device "cuda" cannot be used: {cause}; fix: {fix}'
    assert cupy_findings()["import cupy"] == Finding("import cupy", "fails", cause, fix)


def test_a_cupy_elsewhere_that_fails_is_not_called_in_the_way(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "site-packages").mkdir()
    (here / "site-packages" / "cupy.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(str(here / "site-packages"))
    with pytest.raises(DeviceError, match="import cupy raised RuntimeError: broken; fix: pip uninstall"):
        choose_device("cuda")


def test_a_folder_called_llvmlite_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "llvmlite").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "llvmlite", raising=False)
    assert ways.missing() == 'llvmlite is not installed: pip install "gpucnn[fast]"'
