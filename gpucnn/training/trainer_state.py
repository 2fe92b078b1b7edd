"""A trainer's whole state as arrays and JSON values, and back."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.checks import is_int
from gpucnn.data import DataLoader
from gpucnn.errors import GpucnnError, StateError
from gpucnn.layers import Layer
from gpucnn.layers.saved_arrays import refuse_not_finite
from gpucnn.optim import Lookahead, Optimizer, ReduceOnPlateau, Schedule, WeightAverage
from gpucnn.text import value_text
from gpucnn.training.callback import Callback
from gpucnn.training.evaluate import device_of_model
from gpucnn.training.metrics import Metrics

PARTS = ("model", "optimizer", "average", "lookahead", "metrics")
"""Arrays are called "model/conv1.weight", "optimizer/conv1.weight/momentum", ..."""

SavedState: TypeAlias = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Copies as numpy arrays by name, and JSON values."""


class TrainerState(NamedTuple):
    """All that training depends on and changes: the objects that have a state of their own, and where training stands."""

    model: Layer
    optimizer: Optimizer
    schedule: Schedule | None
    average: WeightAverage | None
    lookahead: Lookahead | None
    metrics: Metrics
    callbacks: Sequence[Callback]
    loader: DataLoader
    accumulate: int
    epoch: int
    batch: int
    step: int
    stop_reason: str
    history: list[dict[str, float]]

    def saved(self) -> SavedState:
        """Arrays and values, without the gradients that accumulate between the batches of one step."""
        states = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": {} if self.average is None else self.average.state_dict(),
            "lookahead": {} if self.lookahead is None else self.lookahead.state_dict(),
            "metrics": self.metrics.state_dict(),
        }
        arrays = {f"{part}/{name}": array for part in PARTS for name, array in states[part].items()}
        return arrays, {
            "fits": _fits(self),
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "lr": float(self.optimizer.lr),
            "weight_decay": float(self.optimizer.weight_decay),
            "stop_reason": self.stop_reason,
            "layers": {
                path: state
                for path, layer in self.model.named_layers()
                if (state := _state_of(layer)) or layer.declares_forward_state
            },
            "schedule": _schedule_state(self.schedule),
            "callbacks": [callback.state_dict() for callback in _with_state(self.callbacks)],
            "history": [dict(row) for row in self.history],
        }

    def restored(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "TrainerState":
        """Put the objects where those stood whose state was saved, and return where training stood.

        Weights may be spoilt, see `check_weights`. StateError if the state does not fit.
        """
        _check_values(self, values)
        states: dict[str, dict[str, np.ndarray]] = {part: {} for part in PARTS}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            if part not in states:
                raise StateError(f"{key!r} is no array of a trainer's state; their names begin with {', '.join(PARTS)}")
            states[part][name] = array
        self.model.load_state_dict(states["model"], finite=False)
        self.optimizer.load_state_dict(states["optimizer"])
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.load_state_dict(states["average"])
        if self.lookahead is not None:
            self.lookahead.load_state_dict(states["lookahead"])
        self.metrics.load_state_dict(states["metrics"], device_of_model(self.model))
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.load_state_dict(values["schedule"])
        for callback, state in zip(_with_state(self.callbacks), values["callbacks"], strict=True):
            _give(callback.load_state_dict, state, f"the callback {type(callback).__name__}")
        restore_layers(self.model, values["layers"])
        self.optimizer.lr, self.optimizer.weight_decay = values["lr"], values["weight_decay"]
        history = [dict(row) for row in values["history"]]
        return self._replace(
            **{name: values[name] for name in ("epoch", "batch", "step", "stop_reason")}, history=history
        )


def restore_layers(model: Layer, states: Mapping[str, Any]) -> None:
    """Give each layer within `model` its forward state, by path. StateError for the path of a layer that it lacks."""
    layers = dict(model.named_layers())
    if unknown := [path for path in states if path not in layers]:
        raise StateError(f"the state is of another model: there is no layer {unknown[0]!r} here")
    for path, layer in layers.items():
        if path not in states and layer.declares_forward_state:
            continue
        _give(layer.set_forward_state, states.get(path, {}), layer.label)


def check_weights(model: Layer, arrays: Mapping[str, np.ndarray]) -> None:
    """StateError unless the parameters and their averages are finite, and nothing else of the state is NaN.

    That is what a state must be to be saved: a second moment, or a running variance, may have become infinite.
    """
    parameters = [path for path, _ in model.named_parameters()]
    weights = {f"{part}/{path}" for part in ("model", "average", "lookahead") for path in parameters}
    refuse_not_finite(
        type(model).__name__,
        {
            name.removeprefix("model/"): array
            for name, array in arrays.items()
            if name in weights
            or (array.dtype.kind == "f" and np.isnan(array).any() and not name.startswith("metrics/"))
        },
    )


def _state_of(layer: Layer) -> dict[str, Any]:
    """What a forward pass changes in the layer, as it comes back from JSON. StateError if it cannot go there."""
    state = layer.forward_state()
    try:
        copied = json.loads(json.dumps(state))
        if not isinstance(copied, dict):
            raise TypeError(f"it is no dict but {value_text(state)}")
    except (TypeError, ValueError) as error:
        raise StateError(
            f"{layer.label}: forward_state must give a dict of JSON values, e.g. {{'calls': self.calls}} ({error})"
        ) from None
    return copied


def _fits(state: TrainerState) -> dict[str, Any]:
    """What two trainers must have in common for the state of one to be of use to the other."""
    lookahead = state.lookahead
    settings = {} if lookahead is None else {"lookahead": [lookahead.steps, lookahead.every, lookahead.decay]}
    return {
        **settings,  # a trainer without one has a state as in the version before
        "optimizer": type(state.optimizer).__name__,
        "schedule with a state": None if _schedule_state(state.schedule) is None else type(state.schedule).__name__,
        "average": state.average is not None,
        "images an epoch": len(state.loader.dataset),
        "batches an epoch": len(state.loader),
        "batches a step": state.accumulate,
        "callbacks with a state": [type(callback).__name__ for callback in _with_state(state.callbacks)],
        "layers with a state": _with_forward_state(state.model),
    }


def _check_values(state: TrainerState, values: Mapping[str, Any]) -> None:
    """StateError unless `values` are of the right kinds, and of a trainer like this one."""
    fits, here = _entry(values, "fits", dict), _fits(state)
    for name in dict.fromkeys((*here, "lookahead")):
        if (name in fits) != (name in here) or fits.get(name) != here.get(name):
            raise StateError(
                f"the state is of another trainer: {name} was {value_text(fits.get(name))}, is {here.get(name)!r} here; build the "
                f"trainer as it was when the state was saved"
            )
    counts = {name: _entry(values, name, int) for name in ("epoch", "batch", "step")}
    if reason := state.loader.cannot_begin(counts["epoch"], counts["batch"]):
        raise StateError(f"training cannot go on there: {reason}")
    layers = _entry(values, "layers", dict)
    rates = [_entry(values, name, float) for name in ("lr", "weight_decay")]
    history, states = _entry(values, "history", list), _entry(values, "callbacks", list)
    _entry(values, "stop_reason", str)
    whole = (
        all(is_int(count) and count >= 0 for count in counts.values())
        and counts["batch"] <= len(state.loader)
        and all(rate >= 0 and math.isfinite(rate) for rate in rates)
        and all(isinstance(layer, dict) for layer in layers.values())
        and all(path in layers for path in _with_forward_state(state.model))
        and len(history) == counts["epoch"]
        and all(map(_is_row, history))
        and len(states) == len(_with_state(state.callbacks))
        and all(isinstance(callback, dict) for callback in states)
        and isinstance(values.get("schedule"), dict) == (_schedule_state(state.schedule) is not None)
    )
    if not whole:
        raise StateError(
            f"the values are not those of a trainer's state, or were changed: epoch {counts['epoch']}, batch "
            f"{counts['batch']}, step {counts['step']}, {len(history)} rows of history"
        )


def _is_row(row: object) -> bool:
    """Whether it is a row of the history whose scores can be compared."""
    return isinstance(row, dict) and all(
        isinstance(value, int | float) for name, value in row.items() if name.endswith(("_loss", "_accuracy"))
    )


def _entry(values: Mapping[str, Any], name: str, kind: type) -> Any:
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise StateError(
            f"the values are not those of a trainer's state: {name!r} must be {kind.__name__}, is {value_text(value)}"
        )
    return value


def _give(take: Callable[[Any], object], state: Any, owner: str) -> None:
    """Have a state taken. An error of its owner's code, which may be anyone's, becomes a StateError that names `owner`."""
    try:
        take(state)
    except GpucnnError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StateError(f"the state is not one that {owner} takes ({reason})") from error


def _with_forward_state(model: Layer) -> list[str]:
    """The paths of the layers that declare what a forward pass changes in them."""
    return [path for path, layer in model.named_layers() if layer.declares_forward_state]


def _with_state(callbacks: Sequence[Callback]) -> list[Callback]:
    return [callback for callback in callbacks if callback.state_dict()]


def _schedule_state(schedule: Schedule | None) -> dict[str, Any] | None:
    return schedule.state_dict() if isinstance(schedule, ReduceOnPlateau) else None
