"""Whether a run that is stopped and resumed is the one that never was: both are trained, and compared byte by byte.

As a program, `python -m gpucnn.runs.verification RUN STEP` goes on with a run until that step: the resumed half, in a
process that knows nothing of the first.
"""

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.backend import own_package
from gpucnn.checks import as_count
from gpucnn.errors import ArgumentError, GpucnnError, RunError
from gpucnn.files.checkpoint_file import Checkpoint
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.prepare import prepare
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.runs.resume import resume
from gpucnn.runs.writers import NOTHING_SAVED
from gpucnn.text import shape_text
from gpucnn.training.callback import Callback
from gpucnn.training.trainer import Trainer

FILES = ("metrics.jsonl", "metrics.csv", "model.safetensors", "best.safetensors")
"""Of a run's folder; there from the end of the first epoch on."""
IN_WORDS = {
    "model": "weights",
    "optimizer": "optimizer state",
    "average": "averaged weights",
    "lookahead": "slow weights of the lookahead",
    "metrics": "metrics of the epoch",
}
"""What the arrays of a state are, by the beginning of their names."""


class Sides(NamedTuple):
    """What two runs that are compared are called."""

    first: str
    second: str
    """As in "the first is 3 in one go, and 4 resumed"."""
    first_run: str
    second_run: str


RESUMED = Sides("in one go", "resumed", "the uninterrupted run", "the resumed run")


class Part(NamedTuple):
    """Something that was compared, as the first run has it."""

    name: str
    arrays: int | None
    """How many arrays; None for what is text, or a file."""
    size: int
    """In bytes."""
    sha256: str
    """In hexadecimal, of these bytes, one array after the other."""


class Verification(NamedTuple):
    """What came of `verify_resume`."""

    parts: list[Part]
    epochs: int
    """How many had finished."""
    difference: str
    """Empty if every byte is the same, else what is the first that differs, and how."""


def verify_resume(config: RunConfig, steps: int) -> Verification:
    """Train 2 * `steps` steps of the run that `config` asks for, and compare.

    One run makes them in one go; another makes `steps`, is saved, and resumed in a new process. Both are kept in a temporary
    folder, with checkpoints at these steps, whatever `config` says of them. Raises ArgumentError if the run has fewer steps,
    or ends early, RunError if the new process fails, and what `prepare` does.
    """
    as_count(steps, "steps")
    ready = prepare(dataclasses.replace(config, checkpoint_every=steps, keep=1))
    if 2 * steps > ready.length.steps:
        raise ArgumentError(
            f"steps is {steps}, but twice as many are more than the {ready.length.steps} of the run; give at most "
            f"{ready.length.steps // 2}, or more epochs"
        )
    with tempfile.TemporaryDirectory(prefix="gpucnn-verify-resume-") as place:
        whole, halves = RunFolder(Path(place, "whole")), RunFolder(Path(place, "halves"))
        try:
            with without_notes_on(place):
                train_until(ready.trainer([*ready.callbacks(whole), StopAt(2 * steps)]), ready)
                again = prepare(ready.config)
                trainer = again.trainer([*again.callbacks(halves), StopAt(steps)])
                train_until(trainer, again)
            if trainer.stop_reason:
                raise ArgumentError(
                    f"steps is {steps}, but training ended after {trainer.step}: {trainer.stop_reason}; give fewer"
                )
            go_on_in_new_process(halves.path, 2 * steps)
        except KeyboardInterrupt as error:  # which offers to resume what is removed here
            raise type(error)("stopped; nothing is kept of what was trained") from None
        return compare(whole, halves)


def compare(whole: RunFolder, halves: RunFolder, sides: Sides = RESUMED) -> Verification:
    """The newest checkpoint, and the files, of two runs."""
    expected, found = whole.checkpoints.load(), halves.checkpoints.load()
    differences = [
        *_array_differences(expected.arrays, found.arrays, sides),
        *(f"{name} differs" for name, text in _texts(expected).items() if text != _texts(found)[name]),
        *(f"{name} differs" for name in FILES if _content(whole, name) != _content(halves, name)),
    ]
    return Verification(_parts(whole, expected), len(expected.values["history"]), next(iter(differences), ""))


@contextmanager
def without_notes_on(place: str) -> Iterator[None]:
    """Inside, an error loses the notes of what a run has saved in the folder `place`, as that is removed."""
    try:
        yield
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        error.__notes__ = [note for note in notes if place not in note and note != NOTHING_SAVED]
        raise


class StopAt(Callback):
    """Ends training at once after a step; stands behind a CheckpointWriter, which has saved it."""

    class Reached(Exception):
        """Training has come to the step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_savepoint(self, trainer: Trainer) -> None:
        if trainer.step >= self.step:
            raise self.Reached


def go_on_in_new_process(run: Path, step: int) -> None:
    """Go on with `run` until `step` in a new process. RunError if it fails."""
    command = [sys.executable, "-m", __name__, str(run), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own_package.environment())
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise RunError(f"the resumed run failed: {last}")


def main() -> None:
    """Go on with a run in this process."""
    run, step = sys.argv[1:]
    try:
        with without_notes_on(run):
            resumed = resume(run)
            ready = resumed.ready
            train_until(resumed.trainer([*ready.callbacks(resumed.folder), StopAt(int(step))]), ready)
    except GpucnnError as error:
        raise SystemExit("; ".join([str(error), *getattr(error, "__notes__", [])])) from None


def train_until(trainer: Trainer, ready: PreparedRun) -> None:
    """Train until a StopAt, or until the run has finished."""
    with suppress(StopAt.Reached):
        trainer.fit(ready.length.epochs - trainer.epoch)


def _parts(folder: RunFolder, checkpoint: Checkpoint) -> list[Part]:
    """All that is compared, those parts that there are."""
    parts = []
    for beginning, name in IN_WORDS.items():
        arrays = [array for key, array in checkpoint.arrays.items() if key.startswith(f"{beginning}/")]
        if arrays:
            parts.append(_part(name, b"".join(array.tobytes() for array in arrays), len(arrays)))
    parts += [_part(name, text.encode()) for name, text in _texts(checkpoint).items()]
    return parts + [_part(name, content) for name in FILES if (content := _content(folder, name)) is not None]


def _part(name: str, content: bytes, arrays: int | None = None) -> Part:
    return Part(name, arrays, len(content), hashlib.sha256(content).hexdigest())


def _texts(checkpoint: Checkpoint) -> dict[str, str]:
    """The values of a state, as text, in three parts."""
    values = dict(checkpoint.values)
    history = values.pop("history")
    schedule = {name: values.pop(name) for name in ("lr", "schedule")}
    parts = {"learning rate, schedule": schedule, "metrics of finished epochs": history, "position, counters": values}
    return {name: json.dumps(part) for name, part in parts.items()}


def _content(folder: RunFolder, name: str) -> bytes | None:
    path = folder.path / name
    return path.read_bytes() if path.exists() else None


def _array_differences(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], sides: Sides = RESUMED
) -> list[str]:
    """What differs, array by array, weights first."""
    beginnings = list(IN_WORDS)
    names = sorted({*expected, *found}, key=lambda name: (beginnings.index(name.partition("/")[0]), name))
    return [text for name in names if (text := _array_difference(name, expected.get(name), found.get(name), sides))]


def _array_difference(name: str, expected: Any, found: Any, sides: Sides) -> str:
    """How two arrays differ; empty if they do not, to the bit: NaN is equal to itself, 0 is not to -0."""
    if expected is None or found is None:
        return f"{name} is missing in {sides.second_run if found is None else sides.first_run}"
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        kinds = (f"{array.dtype} of shape {shape_text(array.shape)}" for array in (expected, found))
        return f"{name} is {f' {sides.first}, and '.join(kinds)} {sides.second}"
    if expected.tobytes() == found.tobytes():
        return ""
    as_bytes = (np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize) for array in (expected, found))
    places = np.flatnonzero(np.not_equal(*as_bytes).any(axis=1))
    values = (repr(array.reshape(-1)[places[0]].item()) for array in (expected, found))
    both = f" {sides.first}, and ".join(values)
    return f"{name} differs in {len(places):,} of {expected.size:,} elements: the first is {both} {sides.second}"


if __name__ == "__main__":
    main()
