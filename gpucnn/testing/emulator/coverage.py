"""Which lines of the .cu files have run: for modules of mode "coverage", through gcov."""

import atexit
import ctypes
import json
import shutil
from pathlib import Path
from typing import NamedTuple

from gpucnn.testing.emulator.compiler import run


class _Counted(NamedTuple):
    library: ctypes.CDLL
    folder: Path
    filename: str
    compiler: str


_counted: list[_Counted] = []


def register(path: Path, filename: str, compiler: str) -> None:
    """Takes a library into account; its counters lie beside it."""
    library = ctypes.CDLL(str(path))
    _counted.append(_Counted(library, path.parent, filename, compiler))
    # Counters that are written out already are not written when the library goes, into a folder that is gone by then.
    atexit.register(library.gpucnn_emulator_write_counters)


def line_coverage() -> dict[str, tuple[set[int], set[int]]]:
    """For each .cu file (executable lines, executed lines), over all modules of mode "coverage" of this process.

    A line counts as executed if it ran in any of the modules made from its file, whatever their options. Lines of a
    template or an `#if` that no module holds are not executable.
    """
    lines: dict[str, tuple[set[int], set[int]]] = {}
    for module in _counted:
        module.library.gpucnn_emulator_write_counters()
        module.library.gpucnn_emulator_reset_counters()
        command = [_gcov(module.compiler), "--json-format", "--stdout", "module.gcda"]
        for report in run(command, module.folder).splitlines():
            for file in json.loads(report)["files"]:
                if file["file"] != module.filename:
                    continue
                executable, executed = lines.setdefault(module.filename, (set(), set()))
                executable.update(line["line_number"] for line in file["lines"])
                executed.update(line["line_number"] for line in file["lines"] if line["count"])
    return lines


def _gcov(compiler: str) -> str:
    """The gcov that belongs to the compiler: its files have the compiler's version."""
    sibling = Path(compiler).with_name(Path(compiler).name.replace("g++", "gcov"))
    return str(sibling) if sibling.name != Path(compiler).name and shutil.which(sibling) else "gcov"
