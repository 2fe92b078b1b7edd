"""`gpucnn sweep FILE`: search for settings by many runs."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpucnn.cli.arguments import count
from gpucnn.cli.launcher import check_single_process
from gpucnn.cli.termination import sigterm_unwinds
from gpucnn.errors import Terminated, TrainingError
from gpucnn.runs.config import settings
from gpucnn.runs.sweep import Study, Sweep, Trial, trials
from gpucnn.runs.value_kind import OrNone
from gpucnn.text import printed, quoted
from gpucnn.text_table import columns, shortened, text_table, wrapped

HELP = "Search for settings: train many runs, chosen by what came of those before, and name the best."
TRIALS, WIDTH, SHOWN = 20, 80, 10
"""Trials by default, columns of what is printed, and rows of the table at the end."""

ON_TEST = "trials are compared by test accuracy, which flatters the best; validation = 0.2 in the file keeps images back for that"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn sweep`."""
    parser.epilog = (
        'FILE has settings as that of gpucnn train --config, and in place of some what to search: lr = "log 1e-4 .. 1e-2", '
        'weight_decay = "0 .. 0.1", batch_size = [32, 64, 128], optimizer = ["adam", "sgd:momentum=0.9"]; of a setting that is a '
        'list, a list of lists: augment = [[], ["flip"], ["flip", "shift:4"]]. The same command goes on with a sweep that was '
        "stopped: trials that have ended are not trained again. It needs the extra sweep, which is optuna."
    )
    parser.add_argument("file", metavar="FILE", help="a TOML file with settings, and ranges of them")
    parser.add_argument(
        "--trials", type=count, default=TRIALS, metavar="N", help=f"how many in all (default: {TRIALS})"
    )
    parser.add_argument("--out", metavar="DIR", help="the folder for the trials (default: runs/ and the file's name)")


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn sweep`; returns 1 if no trial has a result, else 0."""
    check_single_process(os.environ)
    sweep = Sweep.from_toml(options.file)
    study = Study(sweep)
    place = Path(options.out or Path("runs", Path(options.file).stem))
    ended: list[Trial] = []
    began: dict[int, float] = {}
    told = False

    def begin(number: int, values: Mapping[str, Any]) -> None:
        began[number] = time.perf_counter()
        print(
            "\n".join(wrapped(printed(f"trial {number}/{options.trials}: {settings_text(values)}"), WIDTH)), flush=True
        )

    with sigterm_unwinds():
        try:
            for trial in trials(sweep, place, options.trials, study, begin):
                ended.append(trial)
                print(_ended_line(trial, options.trials, began.get(trial.number)), flush=True)
                if trial.measure == "test" and trial.scores and not told:
                    print(f"gpucnn sweep: {ON_TEST}", file=sys.stderr)
                    told = True
        except (KeyboardInterrupt, Terminated) as error:
            kind, name = (Terminated, "SIGTERM") if isinstance(error, Terminated) else (KeyboardInterrupt, "Ctrl-C")
            raise kind(f"stopped by {name} in trial {len(ended) + 1}; the same command goes on") from None
    print("\n".join(lines(ended, list(sweep.space))))
    if best(ended) is None:
        raise TrainingError(f"all {len(ended)} trials have failed, the first: {ended[0].reason}")
    return 0


def lines(ended: Sequence[Trial], names: Sequence[str]) -> list[str]:
    """The best trials as a table, which one is the best, and how many have failed."""
    failed = [trial for trial in ended if trial.reason]
    text = [""]
    top = best(ended)
    if top is not None:
        text += [*table(ended, names), "", f"best: trial {top.number}, {_result(top)}"]
        text += [
            *wrapped(printed(f"  {settings_text(top.values)}"), WIDTH),
            f"evaluate it: gpucnn evaluate {quoted(top.path)}",
        ]
    if failed:
        which = ", ".join(str(trial.number) for trial in failed[:SHOWN]) + (", ..." if len(failed) > SHOWN else "")
        text.append(f"{len(failed)} of {len(ended)} trials failed: {which}; why is in their failed.json")
    return text


def best(ended: Sequence[Trial]) -> Trial | None:
    """The trial with the highest score, of several the first; None if all have failed."""
    scored = [trial for trial in ended if not trial.reason]
    return max(scored, key=lambda trial: trial.score or 0.0, default=None)


def table(ended: Sequence[Trial], names: Sequence[str]) -> list[str]:
    """The best trials, within 80 columns: cells, and then columns, give way."""
    scored = sorted((trial for trial in ended if not trial.reason), key=lambda trial: -(trial.score or 0.0))[:SHOWN]
    head = ("trial", f"{scored[0].measure} accuracy")
    first = [(str(trial.number), f"{trial.score:.4f}") for trial in scored]
    for shown, most in [(len(names), most) for most in range(30, 5, -1)] + [
        (few, 6) for few in range(len(names), 0, -1)
    ]:
        header = (*head, *(shortened(name, most) for name in names[:shown]))
        cells = [[shortened(_text(name, trial.values[name]), most) for name in names[:shown]] for trial in scored]
        rows = [(*own, *more) for own, more in zip(first, cells, strict=True)]
        found = text_table(header, rows, "rr" + "l" * shown)
        if max(map(columns, found)) <= WIDTH:
            break
    return found


def settings_text(values: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{name} {_text(name, value)}" for name, value in values.items())


def _text(name: str, value: Any) -> str:
    """The value of a setting, as it is written at the prompt."""
    if value is None:
        kind = settings()[name].kind
        return kind.without if isinstance(kind, OrNone) else "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ended_line(trial: Trial, count: int, began: float | None) -> str:
    if began is None:
        return shortened(f"trial {trial.number}/{count}: {_result(trial)}, as it was", WIDTH)
    return f"  {_result(trial)} ({time.perf_counter() - began:.1f} s)"


def _result(trial: Trial) -> str:
    if trial.reason:
        return f"failed: {shortened(trial.reason.partition(';')[0], WIDTH - 20)}"
    return f"{trial.measure} accuracy {trial.score:.4f}"
