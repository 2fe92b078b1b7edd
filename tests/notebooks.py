"""A real kernel of Jupyter's for tests, which are skipped where there is none.

`python -m tests.notebooks` runs examples/chapter.ipynb again, and keeps what it gives.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

CHAPTER = Path(__file__).parents[1] / "examples" / "chapter.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""Without versions, which differ from one reader to the next."""
TIMEOUT = 120


@contextmanager
def kernel(notebook: Any, folder: Path) -> Iterator[Any]:
    """nbclient's client of a notebook, its kernel running in `folder` until the end. Skips the test where these are missing."""
    for library in ("nbclient", "ipykernel"):
        pytest.importorskip(library, reason=f"a notebook's kernel needs {library}, of the extra dev")
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with client.setup_kernel():
        yield client


def run(notebook: Any, folder: Path) -> None:
    """Run all cells in order; what one raises is raised."""
    with kernel(notebook, folder) as client:
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)


def printed(cell: Any, name: str = "stdout") -> str:
    """What a cell wrote to a stream."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == name)


def run_again(path: Path) -> None:
    """Run a notebook, and write it with what it gives: without times and versions, so that a diff has what changed."""
    import nbformat

    notebook = nbformat.read(path, 4)
    with TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            streams = [
                nbformat.v4.new_output("stream", name=name, text=text)
                for name in ("stdout", "stderr")
                if (text := printed(cell, name))
            ]
            cell.outputs = [*streams, *(output for output in cell.outputs if output.output_type != "stream")]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    run_again(CHAPTER)
