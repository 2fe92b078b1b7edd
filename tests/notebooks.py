"""A real kernel of Jupyter's for tests, which are skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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


def printed(cell: Any, name: str = "stdout") -> str:
    """What a cell wrote to a stream."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == name)
