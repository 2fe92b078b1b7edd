"""`gpucnn train`: train a model on a data set and keep the run in a folder; or go on with such a run."""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath
from typing import NamedTuple

import gpucnn  # for gpucnn.report, which is imported when it is first looked at: few trainings ask for one
from gpucnn.backend import mpiexec
from gpucnn.backend.group import Group, SingleProcess, of_first
from gpucnn.cli.arguments import argument, count
from gpucnn.cli.folder_report import looking, short_lines
from gpucnn.cli.launcher import check_outside
from gpucnn.cli.processes import check_prepared, check_shards, processes, share_gpus
from gpucnn.cli.settings import add_settings, chosen_config, given_settings, option
from gpucnn.cli.termination import sigterm_unwinds
from gpucnn.data import ImageFolder
from gpucnn.data.catalog import FOLDER, Part, folder_of
from gpucnn.errors import ConfigError, Terminated
from gpucnn.runs.config import RunConfig
from gpucnn.runs.kept_weights import LAST
from gpucnn.runs.network import is_onnx
from gpucnn.runs.prepare import resolve
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.runs.resume import CHANGEABLE
from gpucnn.runs.seeds import FREE, check_place, check_seeds, finished_accuracy, folder_of_seed, spread
from gpucnn.runs.value_kind import SEED
from gpucnn.text import counted, quoted
from gpucnn.text_table import wrapped
from gpucnn.training import (
    Callback,
    ProgressBar,
    ProgressLines,
    ResumedRun,
    RunFolder,
    Trainer,
    prepare,
    resume,
)  # fmt: skip
from gpucnn.training.best_epoch import ON_TEST
from gpucnn.training.find_lr import FIND, STEPS

HELP = "Train a model; without arguments, LeNet-5 on the handwritten digits that come with gpucnn."

ROUNDED = {
    "tf32": "precision tf32: what is multiplied is rounded to 10 bits of mantissa",
    "bf16": "precision bf16: what is multiplied, and what is made of it up to the loss, is rounded to 7 bits of mantissa",
}
"""What a precision other than float32 is told as."""

WIDTH = 80
"""Columns of what is said before a training."""

AUTO = "auto"
"""The device of a report, unless one is given."""

LONGEST_NAME = 40
"""Letters of a data set's folder in the name of a run's."""


class Ended(NamedTuple):
    """How a run ended."""

    accuracy: float
    """On the test images."""
    line: str
    """For people to read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `gpucnn train`."""
    parser.add_argument("--out", metavar="DIR", help="the folder for the run (default: runs/MODEL-DATA-NUMBER)")
    parser.add_argument(
        "--seeds",
        metavar="S",
        nargs="+",
        type=argument(SEED),
        help="train a run with each of these seeds, in DIR/seed-S, and tell mean and spread of their test accuracy; with the same "
        "--out what has finished is not trained again, and what has begun goes on",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder, as it was asked for, from its newest checkpoint, to the same bits as if it "
        f"had never stopped; with it can be given {_options(CHANGEABLE)}",
    )
    parser.add_argument(
        "--processes",
        type=count,
        metavar="P",
        help="train on so many processes of this machine, which mpiexec starts; on several machines: mpiexec or srun gpucnn "
        "train. How many there are changes no bit, but --shards does, and stays: give as many as there shall ever be processes",
    )
    parser.add_argument("--quiet", action="store_true", help="print the final line only")
    parser.add_argument(
        "--report",
        action="store_true",
        help="write what came of it as a page to look at, report.html in the run's folder, as gpucnn report does; of each run, "
        "with --seeds",
    )
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Carry out `gpucnn train`, and return its exit status."""
    if options.processes is not None:
        check_outside(options.processes, os.environ)
        if options.resume is None:
            check_shards(options.processes, chosen_config(options).shards)
        if options.processes > 1:
            return mpiexec.run(options.processes, without_option(options.given, "--processes"))
    with sigterm_unwinds(), processes("train") as group:
        if options.report:
            gpucnn.report.check_libraries()
        if options.seeds is not None and group.size > 1:
            raise ConfigError(
                f"--seeds trains several runs, and {group.size} processes one; train each with --seed and an --out of its own"
            )
        options.quiet = options.quiet or group.rank > 0
        if options.resume is not None:
            _go_on(options, group)
        elif options.seeds is not None:
            _train_seeds(options)
        else:
            _begin(options, group)
    return 0


def without_option(arguments: Sequence[str], option: str) -> list[str]:
    """The arguments of a command without one of its options, which has a value."""
    left, skips = [], False
    for text in arguments:
        if not skips and text != option and not text.startswith(f"{option}="):
            left.append(text)
        skips = text == option and not skips
    return left


def _train_seeds(options: argparse.Namespace) -> None:
    """Carry out `gpucnn train --seeds`."""
    if hasattr(options, "seed"):
        raise ConfigError(f"--seed {options.seed} and --seeds both say what draws follow from; give one of them")
    check_seeds(options.seeds)
    asked = chosen_config(options)
    with looking() as told:
        config = resolve(asked, told)
    if options.out:
        place = Path(options.out)
        check_place(place, config, options.seeds)
    else:
        place = RunFolder.next_in(Path("runs"), _run_name(config)).path
    left = [seed for seed in options.seeds if finished_accuracy(folder_of_seed(place, seed)) is None]
    try:
        accuracies = [
            _train_seed(options, dataclasses.replace(asked, seed=seed), place, seed in left[:1])
            for seed in options.seeds
        ]
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(
            f"{error or 'stopped by Ctrl-C'}; for all seeds: the same command with --out {quoted(place)}"
        ) from None
    finally:
        with suppress(OSError):  # there is something in it
            place.rmdir()
    print(spread(accuracies))


def _train_seed(options: argparse.Namespace, config: RunConfig, place: Path, is_first: bool) -> float:
    """Train one of several runs, or what is left of it, and return its test accuracy."""
    folder = folder_of_seed(place, config.seed)
    accuracy = finished_accuracy(folder)
    if accuracy is None:
        with _held(folder):
            if folder.checkpoints.files():
                changes = {name: value for name, value in given_settings(options).items() if name in FREE}
                ended = _go_on_with(resume(folder, **changes), options.quiet, SingleProcess())
            else:
                folder.prepare()
                with looking() as told:
                    ready = prepare(config, told)
                ended = _train(ready, folder, options.quiet, SingleProcess(), is_first)
    else:
        ended = Ended(accuracy, f"test accuracy {accuracy:.4f}, of the run that has finished there")
    if not options.quiet:
        print(f"seed {config.seed}: {ended.line}", flush=True)
    if accuracy is None or not folder.report_file.exists():
        _write_report(options, folder)
    return ended.accuracy


def _begin(options: argparse.Namespace, group: Group) -> None:
    """Carry out `gpucnn train` of a new run."""
    config = chosen_config(options)
    check_shards(group.size, config.shards)
    share_gpus(group, config.device, os.environ)
    with ExitStack() as until_the_end:
        if options.out:  # before the data are read, as another process may be writing there
            folder = RunFolder(options.out, group.rank == 0)

            def take() -> None:
                until_the_end.enter_context(_held(folder))
                folder.prepare()

            of_first(group, take)
        if config.lr == FIND:
            _tell([f"looking for a learning rate, in {STEPS} steps at most"])
        with looking() as told:
            ready = prepare(config, told, group)
        check_prepared(group, ready.description())
        if not options.out:
            path = of_first(group, lambda: RunFolder.next_in(Path("runs"), _run_name(ready.config)).path)
            folder = RunFolder(path, group.rank == 0)
            of_first(group, lambda: until_the_end.enter_context(_held(folder)))
        print(_train(ready, folder, options.quiet, group).line, flush=True)
    if group.rank == 0:
        _write_report(options, folder)


def _train(ready: PreparedRun, folder: RunFolder, quiet: bool, group: Group, is_first: bool = True) -> Ended:
    """Train a new run; what it is, is told of the first of several alone."""
    trainer = ready.trainer([*ready.callbacks(folder), *_progress(quiet)], group)
    seen = [] if ready.inspection is None else short_lines(ready.inspection, ready.splits, ready.config.balance)
    if is_first:
        _tell([*ready.splits.notes, *(seen[1:] if quiet else [])])
    if not quiet:
        is_there = folder.config_file.exists()
        there = ["the run that is there is replaced once an epoch has finished"] if is_there else []
        lines = [*seen, *heading(ready, folder)] if is_first else [f"run folder: {folder.path}"]
        head = _wrapped([*lines, *there])
        print("\n".join(head), flush=True)
    return _finish(ready, folder, trainer, quiet)


def _run_name(config: RunConfig) -> str:
    """What the run's folder is called, but for its number: after the model and the data set, or the folder of images."""
    model = PurePath(config.model).stem if config.model and is_onnx(config.model) else str(config.model)
    return f"{_as_name(model)}-{_as_name(_name(config)) or FOLDER}"


def _as_name(text: str) -> str:
    """Of a text what may be in the name of a folder."""
    return re.sub(r"[^\w.+-]+", "_", text)[:LONGEST_NAME].strip("._")


def _name(config: RunConfig) -> str:
    """The name of a data set, or of a folder of images."""
    return folder_of(FOLDER, config.data_dir).resolve().name if config.data == FOLDER else config.data


def heading(ready: PreparedRun, folder: RunFolder) -> list[str]:
    """The lines that say what will be trained, where and how."""
    config = ready.config
    choice = f"; {ready.why}" if ready.why else ""
    augmentation = " ".join([*(config.augment or ["none"]), *([config.mix] if config.mix else [])])
    learning = (
        f"{counted(ready.length.epochs, 'epoch')} in batches of {config.batch_size}, {config.optimizer} with lr "
        f"{config.lr:g}, {config.schedule}; label smoothing {config.label_smoothing:g}; augmentation {augmentation}"
    )
    return [
        ready.device,
        f"data: {_images(ready)}",
        f"model: {config.model}, {ready.model.parameter_count():,} parameters{choice}",
        *ready.start,
        f"learning: {learning}",
        *([] if ready.range_test is None else [f"lr was found: {ready.range_test.rates_text}"]),
        f"run folder: {folder.path}",
        *_precision(ready),
        *_doubles(ready),
    ]


def _wrapped(lines: Sequence[str]) -> list[str]:
    """The same lines, none wider than WIDTH if its words are not."""
    return [part for line in lines for part in wrapped(line, WIDTH)]


def _images(ready: PreparedRun) -> str:
    """How many images a run learns from and is measured on, from which parts of a folder, and how the model sees them."""
    config, splits = ready.config, ready.splits
    train, validation, test = _called((splits.train, splits.validation, splits.test))
    parts = [f"{len(ready.train_loader.dataset):,} images to learn from{train}"]
    if ready.val_loader is not None:
        parts.append(f"{len(ready.val_loader.dataset):,} to measure epochs on{validation}")
    parts.append(f"{len(splits.test):,} to test{test}")
    # Of what was looked at more has been told already.
    classes = "" if ready.inspection else f"{_name(config)}, {len(splits.class_names):,} classes; "
    size, colour = splits.preprocess.image_size, "rgb" if splits.preprocess.channels == 3 else "grey"
    return f"{classes}{', '.join(parts)}; {size}x{size} {colour}"


def _called(parts: Sequence[Part | None]) -> list[str]:
    """What each part is called, if it has a folder of its own."""
    folders = [part.folder if isinstance(part, ImageFolder) else None for part in parts]
    return ["" if folder is None or folders.count(folder) > 1 else f" ({folder.name})" for folder in folders]


def _precision(ready: PreparedRun) -> list[str]:
    """What is rounded, if that was chosen."""
    return [] if ready.config.precision == "float32" else [ROUNDED[ready.config.precision]]


def _doubles(ready: PreparedRun) -> list[str]:
    """A line of test images that are training images, too, if there are any and the folder was not looked at just now."""
    count = 0 if ready.images is None or ready.inspection is not None else ready.images.doubles()
    what = "1 test image has" if count == 1 else f"{count:,} test images have"
    return [f"{what} the very bytes of training images: remove one of each"] if count else []


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"gpucnn train: {note}", file=sys.stderr)


def _go_on(options: argparse.Namespace, group: Group) -> None:
    """Carry out `gpucnn train --resume`."""
    given = given_settings(options)
    beside = [name for name in ("out", "config", "recipe", "seeds") if getattr(options, name) is not None]
    refused = [name for name in (*beside, *given) if name not in CHANGEABLE]
    if refused:
        raise ConfigError(
            f"{_options(refused)} would make another run of {options.resume}; with --resume can be given "
            f"{_options(CHANGEABLE)}"
        )
    folder = RunFolder(options.resume, group.rank == 0)
    share_gpus(group, given.get("device", AUTO), os.environ)
    with ExitStack() as until_the_end:

        def take() -> None:
            folder.check_begun()
            until_the_end.enter_context(folder.lock)

        of_first(group, take)
        resumed = resume(folder, **given)
        check_shards(group.size, resumed.ready.config.shards, is_resumed=True)
        check_prepared(group, {"checkpoint": resumed.checkpoint.path.name, **resumed.ready.description()})
        print(_go_on_with(resumed, options.quiet, group).line, flush=True)
    if group.rank == 0:
        _write_report(options, folder)


def _fix(folder: RunFolder) -> str:
    """What to do where a page could not be written."""
    return f"the run itself has finished; its report: gpucnn report {quoted(folder.path)}"


def _write_report(options: argparse.Namespace, folder: RunFolder) -> None:
    """Write the page of a run that has finished, if it is asked for."""
    if not options.report:
        return
    try:
        page = gpucnn.report.write_report(folder.path, device=given_settings(options).get("device", AUTO))
    except KeyboardInterrupt as error:  # or Terminated
        raise type(error)(f"{error or 'stopped by Ctrl-C'}; {_fix(folder)}") from None
    except Exception as error:
        error.add_note(_fix(folder))
        raise
    if not options.quiet:
        print(f"report: {page}", flush=True)


def _go_on_with(resumed: ResumedRun, quiet: bool, group: Group) -> Ended:
    """Train what is left of a run, if there is something left."""
    ready, folder = resumed.ready, resumed.folder
    _tell([*resumed.notes, *ready.splits.notes])
    trainer = resumed.trainer([*ready.callbacks(folder), *_progress(quiet)], group)
    if trainer.batch == 0 and (trainer.epoch >= ready.length.epochs or trainer.stop_reason):
        killed_on_the_last_inch = of_first(group, lambda: not folder.summary_file.exists())
        scores = (ready.finish if killed_on_the_last_inch else ready.final_scores)(trainer, folder)
        line = of_first(group, lambda: _finished_line(resumed, trainer, scores))
        return Ended(scores["test_accuracy"], line)
    if not quiet:
        place = f"epoch {trainer.epoch + 1}, after {trainer.batch} of its {len(trainer.train_loader)} batches"
        head = [*heading(ready, folder), f"going on in {place}, from {resumed.checkpoint.path}"]
        print("\n".join(_wrapped(head)), flush=True)
    return _finish(ready, folder, trainer, quiet)


def _finish(ready: PreparedRun, folder: RunFolder, trainer: Trainer, quiet: bool) -> Ended:
    """Train what is left of the run."""
    group = trainer.sharding.group
    try:
        scores = ready.finish(trainer, folder)
    except BaseException:
        if trainer.sharding.agreed is not None or trainer.failed_step is not None:
            group.gather(None)  # all are here, and the first one may have been writing for long
        raise
    if not quiet:
        on_test = [ON_TEST] if folder.weights().name != LAST and ready.val_loader is None else []
        print("".join(f"{line}\n" for line in _wrapped([ready.cut_short(trainer), *on_test])), end="")
    return Ended(scores["test_accuracy"], of_first(group, lambda: _result(scores, folder)))


def _result(scores: dict[str, float], folder: RunFolder) -> str:
    """What came of a run, for people to read."""
    accuracy = f"test accuracy {scores['test_accuracy']:.4f}"
    weights = folder.weights()
    if weights.name == LAST:
        return f"{accuracy} ({scores['test_correct']}/{scores['test_total']})"
    chosen_on_test = "test_accuracy" in weights.row
    epoch = (
        f"epoch {weights.row['epoch']}" if chosen_on_test else weights.epoch or f"epoch unknown ({weights.file.name})"
    )
    return f"best: {epoch}; {accuracy} with it"


def _finished_line(resumed: ResumedRun, trainer: Trainer, scores: dict[str, float]) -> str:
    """That there is nothing left to train, and how there can be."""
    path, epochs = resumed.folder.path, resumed.ready.config.epochs
    finished = f"{path} has finished after {trainer.epoch} epochs, {_result(scores, resumed.folder)}"
    if trainer.stop_reason:
        return f"{finished}: {trainer.stop_reason}; to train longer, begin a new run without --early-stopping"
    if resumed.can_be_longer():
        return f"{finished}; to train longer: gpucnn train --resume {quoted(path)} --epochs N"
    schedule = resumed.ready.config.schedule
    return f"{finished}; to train longer, begin a new run: its schedule, {schedule}, is laid out for {epochs} epochs"


@contextmanager
def _held(folder: RunFolder) -> Iterator[None]:
    """Inside, the folder is this process's alone. One to which nothing was written goes again."""
    try:
        with folder.lock:
            yield
    finally:
        with suppress(OSError):  # there is something in it
            folder.path.rmdir()


def _options(names: Sequence[str]) -> str:
    return ", ".join(option(name) for name in names)


def _progress(quiet: bool) -> list[Callback]:
    if quiet:
        return []
    return [ProgressBar() if sys.stdout.isatty() else ProgressLines()]
