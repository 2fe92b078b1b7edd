"""The run that comes with gpucnn: LeNet-5, trained on the digits, so that the page has something to show at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gpucnn.backend import own_package
from gpucnn.runs.folder import RunFolder

NAME = "lenet5-digits"
FILES = ("config.json", "metrics.jsonl", "model.safetensors", "summary.json")


@contextmanager
def ready_run() -> Iterator[RunFolder]:
    """Inside, the run's folder. It is a copy: what is installed may lie in a zip file."""
    with TemporaryDirectory(prefix="gpucnn-") as place:
        folder = Path(place) / NAME
        folder.mkdir()
        for name in FILES:
            (folder / name).write_bytes(own_package.read(Path(__file__).parent / NAME / name))
        yield RunFolder(folder)
