"""One batch through a model, forward and backward, with every number looked at: where does the first NaN come from?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, to_host
from gpucnn.diagnosis.array_summary import ArraySummary, summarize
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import ForwardState
from gpucnn.text_table import shortened, shortened_table

NAMED_SAMPLES = 8
"""How many samples are named in a message."""
LARGE = 1e6
"""Numbers below are not on their way to overflow."""


class LayerOutput(NamedTuple):
    """What came out of a layer, and what went in."""

    path: str
    kind: str
    inputs: tuple[ArraySummary, ...]
    output: ArraySummary
    rows: tuple[int, ...]
    """The places in the batch where the output is not finite; none if the output has another first axis."""

    @property
    def label(self) -> str:
        """How messages name the layer."""
        return f"{self.path} ({self.kind})" if self.path else self.kind


class Fault(NamedTuple):
    """The first number that is not finite, told."""

    place: str
    """Whose it is, e.g. "the output of conv1 (Conv2d)"."""
    facts: tuple[str, ...]
    rows: tuple[int, ...]
    """Places in the batch, those that are affected first; none if it cannot be told."""
    fix: str
    """What is likely to help."""


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """What `run_checked` saw."""

    images: ArraySummary
    image_rows: tuple[int, ...]
    """The places in the batch of images that are not finite."""
    outputs: tuple[LayerOutput, ...]
    """Of layers, and of models made of them, in the order in which they finished."""
    loss: float
    parameters: dict[str, ArraySummary]
    """By path, as they were in this step."""
    gradients: dict[str, ArraySummary]
    """By path, in the order of the backward pass."""

    def fault(self) -> Fault | None:
        """The first layer's output, or else the loss, or the first gradient, that is not finite; None if all are."""
        for output in self.outputs:
            if not output.output.finite:
                return self._output_fault(output)
        if not math.isfinite(self.loss):
            logits = self.outputs[-1].output
            fix = "see that the labels are from 0 to the number of the model's outputs - 1"
            if max(-logits.least, logits.most) > LARGE:
                fix = "the numbers have grown too large: lower the learning rate, or clip gradients (clip_norm)"
            return Fault("the loss itself", (f"logits {logits}", "every output is finite"), (), fix)
        for path, gradient in self.gradients.items():
            if not gradient.finite:
                facts = (f"the gradient {gradient}", f"{path} {self.parameters[path]}", "every output is finite")
                fix = "lower the learning rate, or clip gradients (clip_norm) and look for a layer that divides by zero"
                return Fault(f"the gradient of {path}", facts, (), fix)
        return None

    def table(self) -> list[str]:
        """The lines of a table of all outputs, the loss, and all gradients, in the order of the computation."""
        loss = summarize(np.array(self.loss))
        rows = [("images", self.images), *((f"{output.label} output", output.output) for output in self.outputs)]
        rows += [("loss", loss), *((f"{path} gradient", gradient) for path, gradient in self.gradients.items())]
        cells = [
            (shortened(name, 60), *(f"{number:.3g}" for number in found[1:4]), *(str(count) for count in found[4:]))
            for name, found in rows
        ]
        return shortened_table(("array", "min", "max", "mean", "NaN", "inf"), cells, "lrrrrr", 0)

    def _output_fault(self, found: LayerOutput) -> Fault:
        prefix = f"{found.path}." if found.path else ""
        weights = {path: self.parameters[path] for path in self.parameters if path.rpartition(".")[0] == found.path}
        facts = [f"output {found.output}"]
        facts += [f"input {summary}" for summary in found.inputs]
        facts += [f"{path} {summary}" for path, summary in weights.items() if path.startswith(prefix)]
        if not self.images.finite:
            fix = "the images have NaN or infinite pixels: mend or leave out these samples, or what augments them"
            return Fault(f"the output of {found.label}", tuple(facts), self.image_rows, fix)
        if not all(summary.finite for summary in weights.values()):
            fix = "the layer's weights were not finite before this step: an earlier update was too large; lower the learning rate"
        elif any(max(-one.least, one.most) > LARGE for one in (*found.inputs, *weights.values())):
            fix = "the numbers have grown too large: lower the learning rate, or clip gradients (clip_norm)"
        else:
            fix = "no number is large there: see what the layer, or a hook on it, computes, e.g. a division by zero"
        return Fault(f"the output of {found.label}", tuple(facts), found.rows, fix)


def run_checked(model: Layer, images: Array, labels: Array, label_smoothing: float = 0.0) -> CheckedStep:
    """Forward and backward pass of one batch: images (N, C, H, W), labels (N,) or (N, classes), as `Trainer` makes them.

    The model computes as it would by itself, to the bit, and is left as it was before, but for its gradients, which are those
    of this batch. It is waited for at every layer.
    """
    outputs: list[LayerOutput] = []
    before = ForwardState(model)
    unique = {layer: path for path, layer in reversed(list(model.named_layers()))}  # a shared one has its first path
    hooks = [
        layer.register_forward_hook(partial(_note_output, outputs.append, path, len(images)))
        for layer, path in unique.items()
    ]
    for parameter in model.parameters():
        parameter.grad = None
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                logits = model(images)
            finally:
                for hook in hooks:  # before the backward pass, in which checkpointed layers compute once more
                    hook.remove()
            loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
            loss.backward()
    finally:
        before.restore()
    parameters = dict(model.named_parameters())
    return CheckedStep(
        summarize(images),
        _bad_rows(images, len(images)),
        tuple(outputs),
        loss.item(),
        {path: summarize(parameter.array) for path, parameter in parameters.items()},
        {
            path: summarize(parameter.grad)
            for path, parameter in reversed(parameters.items())
            if parameter.grad is not None
        },
    )


def sample_text(rows: Sequence[int], indices: Sequence[int]) -> str:
    """The samples at `rows` of a batch whose samples are `indices`, as messages name them."""
    named = [str(indices[row]) for row in rows[:NAMED_SAMPLES]]
    more = f" and {len(rows) - len(named)} more" if len(rows) > len(named) else ""
    whole = f"all {len(rows)} of the batch: " if len(rows) == len(indices) else ""
    return f"samples affected first: {whole}{', '.join(named)}{more}"


def _note_output(
    note: Callable[[LayerOutput], Any], path: str, batch: int, layer: Layer, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    summaries = tuple(summarize(x.array) for x in inputs)
    note(LayerOutput(path, type(layer).__name__, summaries, summarize(output.array), _bad_rows(output.array, batch)))


def _bad_rows(array: Array, batch: int) -> tuple[int, ...]:
    """Where along a first axis of `batch` rows numbers are not finite."""
    values = to_host(array)
    if values.shape[:1] != (batch,):
        return ()
    return tuple(np.flatnonzero(~np.isfinite(values.reshape(batch, -1)).all(axis=1)).tolist())
