"""`gpucnn.training` has the public names of the loop, and those of runs, which are imported when asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gpucnn import training


def names_for_the_type_checker() -> set[str]:
    """What the file imports, of which half stands behind TYPE_CHECKING."""
    tree = ast.parse(Path(training.__file__).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    names = {alias.asname for node in found for alias in node.names if alias.asname}
    return {name for name in names if not name.startswith("_")}


def test_every_name_that_is_declared_is_there() -> None:
    declared = names_for_the_type_checker()
    assert {"Trainer", "RunConfig", "resume", "CSVLog"} < declared <= set(dir(training))
    for name in declared:
        assert getattr(training, name).__name__ == name


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^training has no RunFoldr; did you mean RunFolder\?$"):
        training.RunFoldr  # noqa: B018


@pytest.mark.parametrize(
    "module", ["training", "runs.folder", "runs.resume", "files.checkpoint_file", "diagnosis.agreement"]
)
def test_any_of_them_can_be_imported_first(module: str) -> None:
    found = subprocess.run([sys.executable, "-c", f"import gpucnn.{module}"], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
