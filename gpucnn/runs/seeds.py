"""The same run with several seeds: each in a folder of its own, all of them in one, and what came of them together."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from gpucnn.errors import ConfigError, RunError
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import list_runs
from gpucnn.runs.resume import CHANGEABLE
from gpucnn.text import counted, quoted, value_text
from gpucnn.training.find_lr import FIND

FREE = tuple(name for name in CHANGEABLE if name != "epochs")
"""Settings in which a run may differ from the one that is asked for, and be it all the same."""


def folder_of_seed(place: Path, seed: int) -> RunFolder:
    """Where the run with `seed` is kept, of those in `place`."""
    return RunFolder(place / f"seed-{seed}")


def check_seeds(seeds: Sequence[int]) -> None:
    """ConfigError if a seed is given twice."""
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ConfigError(f"seeds: {seed} is given twice; each trains one run")


def check_place(place: Path, config: RunConfig, seeds: Sequence[int]) -> None:
    """See that what is in `place` already, of these seeds, are the runs that `config`, with a value for everything, asks for.

    RunError if `place` is a run itself, or if another run is where one of these belongs.
    """
    free = (*FREE, "lr") if config.lr == FIND else FREE
    if RunFolder(place).config_file.exists():
        raise RunError(f"{place}: is a run itself; choose another --out for the runs of several seeds")
    for seed in seeds:
        folder = folder_of_seed(place, seed)
        if not folder.config_file.exists():
            continue
        known = RunConfig.from_run(folder.read_config(), str(folder.config_file)).to_json()
        wanted = dataclasses.replace(config, seed=seed).to_json()
        other = next((name for name in wanted if name not in free and known[name] != wanted[name]), None)
        if other is not None:
            raise RunError(
                f"{folder.path}: is another run: its {other} is {value_text(known[other])}, and "
                f"{value_text(wanted[other])} is asked for; choose another --out"
            )


def finished_accuracy(folder: RunFolder) -> float | None:
    """The test accuracy of the run in `folder`, if it has finished. RunError if it is damaged."""
    for entry in list_runs(folder.path) if folder.config_file.exists() else ():
        if entry.reason:
            raise RunError(f"{entry.reason}; or remove {quoted(folder.path)} to train it anew")
        return entry.accuracy if entry.state == "finished" else None
    return None


def spread(accuracies: Sequence[float]) -> str:
    """Mean and sample standard deviation (n - 1) of what came of the seeds, for people to read."""
    count = counted(len(accuracies), "seed")
    mean = f"test accuracy {statistics.fmean(accuracies):.4f}"
    if len(accuracies) == 1:
        return f"{mean} ({count})"
    return f"{mean} +- {statistics.stdev(accuracies):.4f} ({count}: mean and sample standard deviation)"
