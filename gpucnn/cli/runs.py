"""`gpucnn runs [FOLDER]`: which runs there are, and what came of them."""

import argparse
from typing import Any

from gpucnn.cli.result_file import check_writable, write_json
from gpucnn.runs.list import RunEntry, list_runs
from gpucnn.text_table import shortened, text_table

HELP = "List the runs in a folder: model, data, test accuracy, epochs, when they finished, and whether they are whole."
HEADER = ("run", "model", "data", "accuracy", "epochs", "finished", "state")
LONGEST_REASON = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn runs`."""
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", default="runs", help="the folder of runs (default: runs)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the list to FILE, too")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn runs`."""
    entries = list_runs(options.folder)
    check_writable(options.json)
    if options.json:
        write_json(options.json, [as_json(entry) for entry in entries])
    print("\n".join(lines(entries)) if entries else f"no runs in {options.folder}; gpucnn train makes one")


def lines(entries: list[RunEntry]) -> list[str]:
    """A table of runs, dates in the machine's local time, and below it what is wrong with those that are damaged."""
    rows = [
        (
            shortened(entry.name, 24),
            shortened(entry.model or "", 20),
            shortened(entry.data or "", 20),
            "" if entry.accuracy is None else f"{entry.accuracy:.4f}",
            "" if entry.epochs is None else str(entry.epochs),
            entry.finished.astimezone().strftime("%Y-%m-%d %H:%M") if entry.finished else "",
            entry.state,
        )
        for entry in entries
    ]
    reasons = [shortened(entry.reason, LONGEST_REASON) for entry in entries if entry.reason]
    return [*text_table(HEADER, rows, "lllrrll"), *(["", *reasons] if reasons else [])]


def as_json(entry: RunEntry) -> dict[str, Any]:
    """An entry as JSON values; the date in ISO 8601, null for what is unknown."""
    finished = None if entry.finished is None else entry.finished.isoformat(timespec="seconds")
    return {**entry._asdict(), "finished": finished}
