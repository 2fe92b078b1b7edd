"""Whether two devices agree: one training step of a model on each, from equal beginnings, compared array by array."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import Array, Device, generator, to_host
from gpucnn.checks import Shape, as_count
from gpucnn.layers import Layer
from gpucnn.optim import SGD

LEARNING_RATE, MOMENTUM = 0.05, 0.9
GRADIENT, UPDATED = PARAMETER_KINDS = "gradient", "after the step"
"""How the names of what belongs to a parameter end."""


class Agreement(NamedTuple):
    """How far an array of one device is from that of the other."""

    name: str
    absolute: float
    """The largest difference of two elements."""
    relative: float
    """That, divided by the largest magnitude in the reference; for what belongs to a parameter, in all of its layer's.

    A bias before a batch norm changes nothing: its gradient is rounding alone, and would differ by a multiple of itself.
    """


def step_on(
    device: str | Device,
    create: Callable[[], Layer],
    input_shape: Shape,
    classes: int,
    batch_size: int = 8,
    seed: int = 0,
    dtype: Any = np.float32,
) -> dict[str, np.ndarray]:
    """One training step on `device`: all that it computes, as host arrays by name, in the order of the computation.

    The step is forward pass, cross-entropy, backward pass and SGD with momentum, in `dtype`, on `batch_size` images of
    `input_shape` (C, H, W). Images and labels (below `classes`) are functions of `seed`; `create` must give the same
    model at every call. The names are "conv1 output" (of every innermost layer), "loss", "conv1.weight gradient" and
    "conv1.weight after the step". Raises DeviceError if the device does not work, DTypeError if `dtype` is not a float.
    """
    shape = (as_count(batch_size, "batch_size"), *input_shape)
    images = generator(seed, "agreement images").standard_normal(shape).astype(dtype)
    labels = generator(seed, "agreement labels").integers(0, as_count(classes, "classes"), batch_size)
    model = create().astype(dtype).to(device)
    optimizer = SGD(model.parameters(), LEARNING_RATE, MOMENTUM)
    found: dict[str, np.ndarray] = {}
    calls: Counter[str] = Counter()

    def note(name: str, array: Array) -> None:
        found[name] = np.array(to_host(array))  # a copy: what follows may write over the array

    def note_output(layer: Layer, _: tuple[Tensor, ...], output: Tensor) -> None:
        label = layer.path or layer.label
        calls[label] += 1
        note(f"{label} output" if calls[label] == 1 else f"{label} output {calls[label]}", output.array)

    innermost = {layer for _, layer in model.named_layers() if layer.is_innermost}
    hooks = [layer.register_forward_hook(note_output) for layer in innermost]
    logits = model(Tensor(images).to(device))
    for hook in hooks:  # before the backward pass, in which checkpointed layers compute once more
        hook.remove()
    loss = F.cross_entropy(logits, labels)
    note("loss", loss.array)
    loss.backward()
    for path, parameter in reversed(list(model.named_parameters())):  # as the backward pass comes to them
        if parameter.grad is not None:
            note(f"{path} {GRADIENT}", parameter.grad)
    optimizer.step()
    for path, parameter in model.named_parameters():
        note(f"{path} {UPDATED}", parameter.array)
    return found


def compare(reference: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> list[Agreement]:
    """Two results of `step_on`, array by array. What only one of them has differs by infinity."""
    names = [*reference, *(name for name in other if name not in reference)]
    scales: dict[str, float] = {}
    for name, array in reference.items():
        scales[_measure(name)] = max(scales.get(_measure(name), 0.0), _largest(array))
    return [
        Agreement(name, *_difference(reference.get(name), other.get(name), scales.get(_measure(name), 0.0)))
        for name in names
    ]


def first_beyond(rows: Sequence[Agreement], tolerance: float) -> Agreement | None:
    """The first row, in the order of the computation, whose relative difference is beyond `tolerance`."""
    return next((row for row in rows if row.relative > tolerance), None)


def table(rows: Sequence[Agreement], tolerance: float) -> list[str]:
    """The lines of a table of `rows`; those beyond `tolerance` are marked."""
    width = max([len("array"), *(len(row.name) for row in rows)])
    header = f"{'array':<{width}}  {'absolute':>9}  {'relative':>9}"
    lines = [header, "-" * len(header)]
    for row in rows:
        mark = f"  beyond {scientific(tolerance)}" if row.relative > tolerance else ""
        absolute, relative = (f"{number:.1e}" if number else "0" for number in row[1:])
        lines.append(f"{row.name:<{width}}  {absolute:>9}  {relative:>9}{mark}")
    return lines


def scientific(number: float) -> str:
    """`number` with no more digits than it needs: 1e-04, 2.5e-04."""
    return np.format_float_scientific(number, trim="-", exp_digits=2)


def _measure(name: str) -> str:
    """What arrays are measured together with: for "conv1.bias gradient" it is "conv1 gradient", for outputs themselves."""
    path, _, kind = name.partition(" ")
    return f"{path.rpartition('.')[0]} {kind}" if kind in PARAMETER_KINDS else name


def _largest(array: np.ndarray) -> float:
    """The largest magnitude among the finite elements."""
    return float(np.abs(array[np.isfinite(array)].astype(np.float64)).max(initial=0))


def _difference(reference: np.ndarray | None, other: np.ndarray | None, scale: float) -> tuple[float, float]:
    """The largest absolute difference, and that relative to `scale`; infinity where shape, dtype, a NaN or an infinity differ."""
    if reference is None or other is None or (reference.shape, reference.dtype) != (other.shape, other.dtype):
        return float("inf"), float("inf")
    finite = np.isfinite(reference)
    specials = reference[~finite], other[~finite]
    if not np.isfinite(other[finite]).all() or not np.array_equal(*specials, equal_nan=True):
        return float("inf"), float("inf")
    expected, got = (array[finite].astype(np.float64) for array in (reference, other))
    with np.errstate(over="ignore"):
        absolute = float(np.abs(expected - got).max(initial=0))
    if absolute == 0:
        return 0.0, 0.0
    return absolute, absolute / scale if scale else float("inf")
