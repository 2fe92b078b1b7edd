"""A sweep: many runs whose settings are searched for, each a folder of its own, and all that is known of them is in these.

A study of optuna's is asked for the settings of every trial and told what came of it. It lives in memory alone: with the same
seed it suggests the same, so a sweep that goes on asks it again for the trials that are there, and tells it their results.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from gpucnn.atomic_file import telling_of, write_atomically
from gpucnn.errors import (
    ArgumentError,
    ConfigError,
    LibraryError,
    OutOfMemoryError,
    RunError,
    ShapeError,
    TrainingError,
)
from gpucnn.regular_file import read_regular
from gpucnn.runs.config import RunConfig, check_names, read_toml, settings
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.prepare import prepare
from gpucnn.runs.resume import resume
from gpucnn.runs.seeds import FREE
from gpucnn.runs.value_kind import Kind, Number, OrNone, OrWord, Several, Whole
from gpucnn.text import value_text
from gpucnn.training.find_lr import FIND

if TYPE_CHECKING:
    from optuna import Trial as Asked

PLAN, FAILED = "sweep.json", "failed.json"
"""What a sweep was asked for, in its folder; and in that of a trial, why there is no result."""

RANGE = re.compile(r"(log )?\s*(\S+)\s*\.\.\s*(\S+)")
DIGITS = 3
"""Of a number from a range, so that it can be read, and typed."""

Values: TypeAlias = dict[str, Any]
"""Settings by name."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, drawn evenly, or evenly by their logarithm."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def first(self) -> float:
        """The lowest."""
        return int(self.low) if self.whole else self.low

    def suggested(self, asked: "Asked", name: str) -> float:
        """One of them."""
        if self.whole:
            return int(asked.suggest_int(name, int(self.low), int(self.high), log=self.log))
        value = asked.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True, slots=True)
class Options:
    """Some values."""

    values: tuple[Any, ...]

    @property
    def first(self) -> Any:
        """The first."""
        return self.values[0]

    def suggested(self, asked: "Asked", name: str) -> Any:
        """One of them."""
        return self.values[asked.suggest_categorical(name, list(range(len(self.values))))]


class Sweep(NamedTuple):
    """What is asked for: settings that all trials have, and those that are searched for, by name."""

    fixed: Values
    space: Mapping[str, Range | Options]
    written: Values
    """The settings as they were written."""

    @classmethod
    def from_toml(cls, path: str) -> "Sweep":
        """A file of settings, as a run's, in which a string "1e-4 .. 1e-2" or "log 1e-4 .. 1e-2" is a range, a list some values.

        Of a setting that is a list by itself, such as augment, a list of lists is some values. ConfigError, which names the
        file, for what cannot be.
        """
        written = read_toml(path)
        check_names(written, path)
        space: dict[str, Range | Options] = {}
        for name, value in written.items():
            try:
                found = _searched(settings()[name].kind, value)
            except ArgumentError as error:
                raise ConfigError(f"{path}: {name}: {error}") from None
            if found is not None:
                space[name] = found
        fixed = {name: value for name, value in written.items() if name not in space}
        try:
            RunConfig.from_json(fixed, path)
        except ConfigError:  # some settings need one that is searched for, as freeze needs weights
            RunConfig.from_json({**fixed, **{name: found.first for name, found in space.items()}}, path)
        if not space:
            raise ConfigError(
                f'{path}: nothing to search for; write a range, e.g. lr = "log 1e-4 .. 1e-2", or a list of values'
            )
        return cls(fixed, space, written)

    @property
    def seed(self) -> int:
        """What the suggestions follow from: the seed of the trials, if they have one in common."""
        return int(self.fixed.get("seed", 0))


class Suggestions(Protocol):
    """Where the settings of trials come from."""

    def ask(self) -> Values:
        """Those of the next trial."""

    def tell(self, score: float | None) -> None:
        """What came of them, the higher the better; None for nothing."""


class Study:
    """Suggestions of optuna's tree-structured Parzen estimator. LibraryError without optuna.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
    """

    def __init__(self, sweep: Sweep) -> None:
        try:
            import optuna
        except ImportError as error:
            raise LibraryError(f'a sweep needs optuna ({error}); pip install "gpucnn[sweep]"') from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.failed = sweep.space, optuna.trial.TrialState.FAIL
        sampler = optuna.samplers.TPESampler(seed=sweep.seed % 2**32)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)

    def ask(self) -> Values:
        """The settings of the next trial."""
        self.asked = self.study.ask()
        return {name: one.suggested(self.asked, name) for name, one in self.space.items()}

    def tell(self, score: float | None) -> None:
        """What came of them; None for nothing."""
        if score is None:
            self.study.tell(self.asked, state=self.failed)
        else:
            self.study.tell(self.asked, score)


class Trial(NamedTuple):
    """A run of a sweep that has ended."""

    number: int
    path: Path
    values: Values
    """What was searched for."""
    scores: Mapping[str, Any]
    """Its summary; empty if it has failed."""
    reason: str
    """Why it has failed; empty if it has not."""

    @property
    def measure(self) -> str:
        """What it is judged by: "val" or "test"."""
        return "val" if "val_accuracy" in self.scores else "test"

    @property
    def score(self) -> float | None:
        """The accuracy that it is judged by; None if it has failed."""
        return None if self.reason else float(self.scores[f"{self.measure}_accuracy"])


def trials(
    sweep: Sweep, place: Path, count: int, suggestions: Suggestions, tell: Callable[[int, Values], None]
) -> Iterator[Trial]:
    """Train `count` runs, in the folders trial-1, trial-2, ... of `place`; what is there already is not trained again.

    `tell` is told number and settings of a trial before it is trained. A loss that is not finite, memory that does not suffice
    and settings that do not go together end a trial; all other errors the sweep. Raises RunError if `place` holds another
    sweep, or something else, or if another process works there.
    """
    folder = RunFolder(place)
    with folder.lock:
        _begin(sweep, place)
        for number in range(1, count + 1):
            values = suggestions.ask()
            run = RunFolder(place / f"trial-{number}")
            _check_same(run, sweep, values)
            if _ended(run) is None:
                tell(number, values)
                _carry_out(run, sweep, values)
            found = _ended(run)
            assert found is not None
            trial = Trial(number, run.path, values, *found)
            suggestions.tell(trial.score)
            yield trial


def _searched(kind: Kind, value: Any) -> Range | Options | None:
    """What is searched for in a setting that is written so; None for a single value. ArgumentError for what is neither."""
    bare = kind
    while isinstance(bare, OrNone | OrWord):
        bare = bare.kind
    if isinstance(value, list) and not (isinstance(bare, Several) and not any(isinstance(one, list) for one in value)):
        if len(value) < 2:
            raise ArgumentError(f"expected several values to choose among, got {value_text(value)}")
        return Options(tuple(_written(kind.check(one)) for one in value))
    if not (isinstance(value, str) and isinstance(bare, Number | Whole)):
        return None
    if (found := RANGE.fullmatch(value.strip())) is None:
        try:
            kind.check(value)  # a word, as find
        except ArgumentError as error:
            raise ArgumentError(f'{error}; a range is written "1e-4 .. 1e-2", or "log 1e-4 .. 1e-2"') from None
        return None
    try:
        low, high = (bare.parse(text) for text in found.groups()[1:])
        kind.check(low)
        kind.check(high)
    except ArgumentError as error:
        raise ArgumentError(f"{error}, in the range {value!r}") from None
    if low >= high:
        raise ArgumentError(f"a range goes from low to high, got {value!r}")
    if found[1] and low <= 0:
        raise ArgumentError(f"a range by logarithm begins above 0, got {value!r}")
    return Range(low, high, bool(found[1]), isinstance(bare, Whole))


def _written(value: Any) -> Any:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _begin(sweep: Sweep, place: Path) -> None:
    """See that this sweep, or none, was begun in its folder."""
    file = place / PLAN
    try:
        known = json.loads(read_regular(file))
        if not isinstance(known, dict):
            raise ValueError("not the settings of a sweep")
    except FileNotFoundError:
        if RunFolder(place).config_file.exists() or any(place.glob("trial-*")):
            raise RunError(f"{place}: holds something else than a sweep; choose another --out") from None
        with telling_of(file):
            write_atomically(file, (json.dumps(sweep.written, indent=2) + "\n").encode())
        return
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    for name in (*known, *sweep.written):
        if name not in FREE and known.get(name) != sweep.written.get(name):
            raise RunError(
                f"{place}: holds another sweep: its {name} is {value_text(known.get(name))}, and "
                f"{value_text(sweep.written.get(name))} is asked for; choose another --out"
            )


def _check_same(run: RunFolder, sweep: Sweep, values: Values) -> None:
    """RunError if a trial that is there has other settings than those suggested: then the suggestions are not those that they were."""
    if not run.config_file.exists():
        return
    known, wanted = run.read_config(), _config(sweep, values).to_json()
    searched = [*values, *(["data_dir"] if "data" in values else [])]  # a path is a data set, and where it is
    for name in searched:
        value = wanted[name]
        if value not in (None, FIND) and known.get(name) != value:
            raise RunError(
                f"{run.path}: its {name} is {value_text(known.get(name))}, and {value_text(value)} would be tried now, as by "
                f"another version of optuna; choose another --out"
            )


def _ended(run: RunFolder) -> tuple[Mapping[str, Any], str] | None:
    """Scores of a trial that has ended, and why there are none; None for one that has not."""
    for file, is_whole in ((run.summary_file, "test_accuracy"), (run.path / FAILED, "reason")):
        try:
            found = json.loads(read_regular(file))
            told = found[is_whole]
            return (found, "") if file == run.summary_file else ({}, str(told))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"{file}: cannot be read ({reason}); remove {run.path} to train it anew") from None
    return None


def _carry_out(run: RunFolder, sweep: Sweep, values: Values) -> None:
    """Train a trial, or what is left of it, and leave in its folder what came of it."""
    try:
        _train(run, sweep, values)
        return
    except (TrainingError, OutOfMemoryError, MemoryError, ArgumentError, ConfigError, ShapeError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
    file = run.path / FAILED
    run.path.mkdir(parents=True, exist_ok=True)
    with telling_of(file):
        write_atomically(file, (json.dumps({**values, "reason": reason}, indent=2) + "\n").encode())


def _train(run: RunFolder, sweep: Sweep, values: Values) -> None:
    with run.lock:
        if run.checkpoints.files():
            resumed = resume(run)
            resumed.ready.finish(resumed.trainer(resumed.ready.callbacks(run)), run)
        else:
            ready = prepare(_config(sweep, values))
            ready.finish(ready.trainer(ready.callbacks(run)), run)


def _config(sweep: Sweep, values: Values) -> RunConfig:
    """What a trial is asked for. ConfigError for settings that do not go together."""
    return RunConfig.from_json({**sweep.fixed, **values}, "the trial's settings")
