"""What a report says in words and figures: what was trained on what, how good it is, how to do it again."""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from gpucnn import __version__
from gpucnn.report.run_in_hand import RunInHand
from gpucnn.runs.command import asked, train_command, written
from gpucnn.runs.config import settings
from gpucnn.runs.kept_weights import BEST
from gpucnn.text import counted, quoted
from gpucnn.training import calibration
from gpucnn.training.best_epoch import IN_WORDS, ON_TEST, judged_by
from gpucnn.training.evaluate import TOP

MANY = 1_000
"""Images of which a tenth of a percent is more than one."""


WELL = 0.02
"""An expected calibration error below which the two are told to be the same."""
VERDICTS = {
    "too sure": "The model is too sure of its answers",
    "less sure": "The model is less sure of its answers than it could be",
    "": "Whether the model is too sure of its answers cannot be told from {}",
}
"""By `Calibration.sureness`."""


class Row(NamedTuple):
    """A figure with its name, and what is to be said of it."""

    name: str
    value: str
    note: str = ""


class Command(NamedTuple):
    """What to type, and what it does."""

    text: str
    code: str


def title(run: RunInHand) -> str:
    """What was trained on what, in short."""
    return f"{run.model_name} on {run.data_name}"


def sentence(run: RunInHand) -> str:
    """What was trained on what, and what came of it."""
    found, learned = run.found, run.learned_from()
    source = "" if learned is None else f" on {counted(learned, 'image')}"
    epochs = "" if run.entry.epochs is None else f" for {counted(run.entry.epochs, 'epoch')}"
    return (
        f"A network of {counted(run.parameters, 'parameter')} that tells {counted(len(run.trained.class_names), 'class')} of "
        f"{run.data_name} apart, trained{source}{epochs}. Of {counted(found.total, 'image')} that it did not learn from, it "
        f"answers {found.correct:,} right."
    )


def unfinished(run: RunInHand) -> str:
    """That a run has not finished; empty for one that has."""
    if run.is_finished:
        return ""
    epochs, config = run.entry.epochs, run.config
    wanted = f"{epochs}" if config is None or config.epochs is None else f"{epochs} of {config.epochs}"
    stands = "so far" if epochs is None else f"after {wanted} epochs"
    if run.entry.state.startswith("training"):
        return f"This run is still being trained. What follows is what it had learned {stands}."
    return f"This run has not finished. What follows is what it had learned {stands}; it can go on from there, see the end."


def rows(run: RunInHand) -> list[Row]:
    """The figures beside the accuracy."""
    found, weights, config = run.found, run.trained.weights, run.config
    learned, seconds = run.learned_from(), sum(run.folder.read_times().values())
    row = weights.row
    epochs = run.entry.epochs
    if weights.name == BEST:
        judged = f"the best by {IN_WORDS[judged_by(row)]} accuracy" if row else "the best"
        epoch = Row(
            "Weights", f"of epoch {row.get('epoch', 'unknown')}", judged if epochs is None else f"{judged}, of {epochs}"
        )
    else:
        epoch = Row("Weights", "the last") if epochs is None else Row("Weights", f"of epoch {epochs}", "the last")
    trained_on = f"{'' if epochs is None else counted(epochs, 'epoch')} on {run.trained.config.get('device')}".strip()
    augment = "" if config is None else " ".join([*(config.augment or ()), *([config.mix] if config.mix else [])])
    size, colour = run.trained.preprocess.image_size, "grey" if run.trained.preprocess.channels == 1 else "colour"
    top = [Row(f"Top {TOP}", percent(found.top_5_accuracy, found.total), "the label is among the first five")]
    return [
        Row("Measured on", counted(found.total, "image"), run.measured.what or f"the test images of {run.data_name}"),
        Row("Wrong", f"{found.total - found.correct:,}", f"of {found.total:,}"),
        Row("Loss", f"{found.loss:.4f}" if found.loss == found.loss else "no number", "mean cross-entropy"),
        *(top if len(run.trained.class_names) > TOP else []),
        *([] if learned is None else [Row("Learned from", counted(learned, "image"), f"changed at random: {augment}" if augment else "")]),
        Row("Images", f"{size} x {size}", colour),
        epoch,
        *([Row("Time", time_text(seconds), trained_on)] if seconds else []),
        Row("Parameters", f"{run.parameters:,}"),
        *([] if run.entry.finished is None else [Row("Finished", date_text(run.entry.finished))]),
    ]  # fmt: skip


def weights_text(run: RunInHand) -> str:
    """With which epoch's weights the model is measured, and so shown, here: they need not be those of the best epoch."""
    weights = run.trained.weights
    if weights.name == BEST:
        return (
            f"All that follows is measured with the weights of its best epoch, {weights.row.get('epoch', 'unknown')}."
        )
    return f"All that follows is measured with the weights of its last epoch, {run.entry.epochs}."


def notes(run: RunInHand) -> list[str]:
    """What a reader must know of how it was measured."""
    weights = run.trained.weights
    on_test = weights.name == BEST and weights.row and judged_by(weights.row) == "test"
    return [*run.measured.notes, *([ON_TEST] if on_test else [])]


def setting_rows(run: RunInHand) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The settings that had to be asked for, or were decided by data and machine, and all others: names and values as text."""
    config = run.config
    if config is None:
        return [(name, str(value)) for name, value in run.entry.settings.items()], []
    first = asked(config)
    text = {name: " ".join(written(setting.kind, getattr(config, name))) for name, setting in settings().items()}
    return [(name, text[name]) for name in first], [(name, text[name]) for name in text if name not in first]


def versions(run: RunInHand) -> list[tuple[str, str]]:
    """What the run was made with, and this report."""
    made = run.trained.config.get("versions")
    known = {str(name): str(value) for name, value in made.items()} if isinstance(made, dict) else {}
    device = {"device": str(run.trained.config.get("device"))}
    ended = {} if run.entry.finished is None else {"finished": date_text(run.entry.finished)}
    return [*{**device, **known, **ended, "this report": f"gpucnn {__version__}, {date_text(datetime.now())}"}.items()]


def commands(run: RunInHand) -> list[Command]:
    """How to train the run again, to go on with it, and to use it."""
    config, place = run.config, quoted(run.folder.path)
    if config is None:
        again = []
    else:
        where = ", where its data are" if config.data_dir or config.weights else ""
        again = [Command(f"Train the same run again{where}:", train_command(config))]
    go_on = [Command("Go on with it:", f"gpucnn train --resume {place}")]
    python = (
        f'import gpucnn\n\ntrained = gpucnn.load({str(run.folder.path)!r})\nprint(trained.predict("image.png", top=3))'
    )
    return [
        *again,
        *([] if run.is_finished else go_on),
        Command("Ask it about images, or whole folders of them:", f"gpucnn predict {place} image.png"),
        Command("Measure it again, with all figures as JSON:", f"gpucnn evaluate {place} --json figures.json"),
        Command("From Python:", python),
    ]


def has_probabilities(run: RunInHand) -> bool:
    """Whether any answer has one: a model that gives NaN has none."""
    return not np.isnan(run.found.samples.probability).all()


def calibration_text(run: RunInHand) -> str:
    """How confidence and accuracy go together, in a sentence or two."""
    if not has_probabilities(run):
        return "No answer has a probability: the model gives no numbers."
    known = calibration(run.found)
    error, total = known.expected_calibration_error, run.found.total
    verdict = "The model is about as sure as it is right" if error < WELL else VERDICTS[known.sureness(run.found)]
    low, high = (percent(share, total) for share in run.found.accuracy_interval)
    return (
        f"{verdict.format(counted(total, 'image'))}: the mean probability of its answers is {percent(known.mean_confidence, total)}, "
        f"and {percent(run.found.accuracy, total)} of them are right (95 % interval: {low} to {high}). Expected calibration error: "
        f"{error:.4f}."
    )


def percent(share: float, total: int) -> str:
    """A share of so many images, with the decimals that they are enough for."""
    return f"{100 * share:.{digits(total)}f} %"


def digits(total: int) -> int:
    """Decimals of a percentage of so many images."""
    return 2 if total >= MANY else 1


def time_text(seconds: float) -> str:
    """A time for people to read: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def date_text(moment: datetime) -> str:
    """A day and a time, where the reader is."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
