"""`gpucnn runs [FOLDER]`: which runs there are, and what came of them."""

import argparse
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gpucnn.cli.result_file import check_writable, write_json
from gpucnn.data.catalog import FOLDER
from gpucnn.runs.list import COLUMNS, RunEntry, column_names, differing, list_runs, ordered
from gpucnn.text_table import shortened, text_table

HELP = "List the runs in a folder: model, data, test accuracy, epochs, when they finished, and whether they are whole."
LONGEST_REASON = 300
LONGEST_CELL, SHORTEST_CELL = 24, 16
"""Columns of a text in the table: at most, and where the table would be too wide."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn runs`."""
    parser.epilog = (
        "A column is a setting by its name, e.g. lr, seed or batch_size, or a result, e.g. train_loss, best_epoch, seconds; or "
        f"one of {', '.join(COLUMNS)}."
    )
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", default="runs", help="the folder of runs (default: runs)"
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", help="the best accuracy, or else the lowest value, first (default: run)"
    )
    parser.add_argument("--columns", metavar="A,B,...", help="what to show beside run, accuracy and state")
    parser.add_argument("--differ", action="store_true", help="show the settings that are not the same in all runs")
    parser.add_argument("--json", metavar="FILE", help="write the list to FILE, too, with all settings and results")


def run(options: argparse.Namespace) -> None:
    """Carry out `gpucnn runs`."""
    entries = list_runs(options.folder)
    chosen = [name for name in (options.columns or "").split(",") if name.strip()]
    if entries:
        entries, chosen = _asked(entries, chosen, options.sort, options.differ)
    check_writable(options.json)
    if options.json:
        write_json(options.json, [as_json(entry) for entry in entries])
    print("\n".join(lines(entries, chosen)) if entries else f"no runs in {options.folder}; gpucnn train makes one")


def _asked(
    entries: list[RunEntry], asked: Sequence[str], sort: str | None, differ: bool
) -> tuple[list[RunEntry], list[str]]:
    """The runs in their order, and the columns to show. ArgumentError for a column that there is not."""
    first, chosen = column_names(entries, [sort] if sort else []), column_names(entries, asked)
    if chosen or differ:
        names = ["run", "accuracy", *first, *chosen, *(differing(entries) if differ else []), "state"]
    else:
        names = ["run", "model", "data", "accuracy", *first, "epochs", "finished", "state"]
    return ordered(entries, first[0]) if first else entries, list(dict.fromkeys(names))


def lines(entries: Sequence[RunEntry], names: Sequence[str] = COLUMNS) -> list[str]:
    """A table of runs, no wider than the terminal, dates in local time; below it what was left out, and why runs are damaged."""
    shown, most = list(names), LONGEST_CELL
    width = shutil.get_terminal_size().columns
    kept = {"run", "state"}
    if all(entry.state == "finished" for entry in entries):
        kept = {"run"}
        if "state" in shown and len(_table(entries, shown, most)[1]) > width:
            shown.remove("state")  # rather than letters of the runs' names
    while len((table := _table(entries, shown, most))[1]) > width and (most > SHORTEST_CELL or set(shown) > kept):
        if most > SHORTEST_CELL:
            most -= 1
        else:
            shown.remove([name for name in shown if name not in kept][-1])
            most = LONGEST_CELL
    left_out = ", ".join(name for name in names if name not in shown)
    notes = [f"left out to fit {width} columns: {left_out}"] if left_out else []
    notes += [shortened(entry.reason, LONGEST_REASON) for entry in entries if entry.reason]
    return [*table, *(["", *notes] if notes else [])]


def _table(entries: Sequence[RunEntry], names: Sequence[str], most: int) -> list[str]:
    """A table in which texts, but for states, take `most` columns."""
    rows = [
        [shortened(_text(one, name), LONGEST_REASON if name == "state" else most) for name in names] for one in entries
    ]
    is_text = [any(isinstance(one.value(name), str | list | datetime) for one in entries) for name in names]
    return text_table(names, rows, "".join("l" if text else "r" for text in is_text))


def _text(entry: RunEntry, name: str) -> str:
    """What the table has in the column `name`."""
    value, asked = entry.value(name), entry.settings.get("epochs")
    if name == "data" and value == FOLDER and (place := entry.settings.get("data_dir")):
        return Path(str(place)).name or str(place)
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int) and name.endswith("accuracy"):
        return f"{value:.4f}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if name == "epochs" and None not in (value, asked) and value != asked:
        return f"{value} of {asked}"
    return "" if value is None else str(value)


def as_json(entry: RunEntry) -> dict[str, Any]:
    """An entry as JSON values; the date in ISO 8601, null for what is unknown."""
    finished = None if entry.finished is None else entry.finished.isoformat(timespec="seconds")
    return {**entry._asdict(), "finished": finished}
