"""Steps that come again and again: recorded the third time, and replayed from then on."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeAlias

import numpy as np

from gpucnn.autograd import grad_enabled
from gpucnn.backend import Array, Device, chosen_precision, device_of
from gpucnn.backend.graph import Graph, stream
from gpucnn.backend.joined import joined
from gpucnn.backend.memory import is_out_of_memory, release
from gpucnn.errors import ArgumentError, CaptureError, OutOfMemoryError
from gpucnn.kernels import ways
from gpucnn.kernels.compiler.recording import CallList
from gpucnn.layers import Layer
from gpucnn.layers.forward_state import ForwardState, lay_side_by_side
from gpucnn.layers.structure import Structure, alike, inner_copy
from gpucnn.layers.undeclared import noting_undeclared_state
from gpucnn.optim import Optimizer
from gpucnn.text import shape_text, value_text
from gpucnn.training.out_of_memory import place_of
from gpucnn.training.recorded_step import Kind, Recorded, Recording, Result, Work, placed

Wanted: TypeAlias = bool | Literal["auto"]
"""Whether steps are to be recorded: True, False, or "auto", where they can be."""

FIRST = 2
"""How often a step is computed as it is before it is recorded: the first times compile kernels, and allocate what stays."""
MOST_RECORDINGS = 3
"""A full batch, the last of an epoch, and one more. Each holds memory for all that lies between images and gradients."""
MORE_KINDS = "use batches of fewer shapes (drop_last=True leaves out the smaller last one), and change settings and modes less often"
MOST_WAITING = 8
"""Kinds of steps that are counted before they are recorded."""


class Recorder(Generic[Result]):
    """Does the steps of a model and its optimizer: the first two of a kind as they are, later ones by replaying the third.

    A kind is all that a recording would not see change: shapes and dtypes of the inputs, layers with their settings and
    modes, what learns, where arrays live, and what stands in `Work.settings`. Three recordings are kept at most. They are
    dropped with the arrays that they write to, and when another model or optimizer comes.

    - `graph`: with "auto" a step that cannot be recorded is computed as it is, and `tell` gets the reason, once; with True
      that raises CaptureError. False records nothing.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, graph: Wanted, tell: Callable[[str], None]) -> None:
        self.model, self.optimizer, self.graph = model, optimizer, as_wanted(graph)
        self._tell = tell
        self.most = MOST_RECORDINGS
        """How many recordings are kept."""
        self._told: set[str] = set()
        self._kinds: list[Kind[Result]] = []
        self._replayed: Recorded[Result] | None = None

    def follow(self, model: Layer, optimizer: Optimizer) -> None:
        """Whose step comes next. What was recorded of others is dropped."""
        if model is not self.model or optimizer is not self.optimizer:
            self.model, self.optimizer = model, optimizer
            self._kinds, self._replayed = [], None

    def do(self, work: Work[Result], inputs: Sequence[Array], device: Device) -> Result:
        """What the work gives for `inputs`; its arrays hold until the next step.

        Raises, with graph=True, CaptureError where the step cannot be recorded, and OutOfMemoryError where a recording does
        not fit. What `as_it_is` raises goes through.
        """
        if self.graph is False or not grad_enabled() or not self._can_record(device):
            return work.as_it_is(*inputs)
        with stream(device):  # that in which steps are recorded
            kind = self._kind(work, inputs, device)
            kind.times += 1
            if kind.recorded is None and kind.times > FIRST and not kind.refused:
                self._record(kind, work, inputs, device)
            if kind.recorded is not None:
                self._replayed = kind.recorded
                return kind.recorded.replay(inputs, work.count_up)
            if kind.times != FIRST:
                return self._as_it_is(kind, work, inputs, device)
            with noting_undeclared_state(self.model) as found:
                result = self._as_it_is(kind, work, inputs, device)
            kind.undeclared = [f"{layer.label}: a forward pass {what}" for layer, what in found]
            return result

    @property
    def recordings(self) -> int:
        """How many are kept."""
        return sum(kind.recorded is not None for kind in self._kinds)

    def replayed(self) -> Recorded[Result] | None:
        """What was replayed last, if it is still kept."""
        return self._replayed

    def take_back(self) -> None:
        """Make layers, and counts of steps, as they were before the last replay; weights stay as they are."""
        assert self._replayed is not None
        self._replayed.take_back()

    def _as_it_is(self, kind: Kind[Result], work: Work[Result], inputs: Sequence[Array], device: Device) -> Result:
        """A step without a recording. Where its memory is taken by those of other kinds they are dropped, and made again later."""
        try:
            return work.as_it_is(*inputs)
        except Exception as error:
            if self.graph is True or device.kind == "cpu" or not self.recordings or not is_out_of_memory(error):
                raise
        for one in self._kinds:
            one.recorded = None
        kind.refused, self._replayed = True, None
        release(device)
        self._say(
            f"steps with a batch of {_shapes(work, inputs)[0][0]} are computed as they are: beside those that are recorded "
            f"{device} has too little memory for them"
        )
        return work.as_it_is(*inputs)

    def _can_record(self, device: Device) -> bool:
        """Whether there is a way to record steps on `device`. CaptureError if not, and they must be."""
        if device.kind != "cpu" or ways.mode() == "jit":
            return True
        if self.graph is True:
            helps = f"unset {ways.VARIABLE}, " if os.environ.get(ways.VARIABLE) else ""
            raise CaptureError(
                f"graph=True, but on a CPU compiled loops alone are recorded, and this process computes with "
                f'{ways.describe()}; {helps}leave graph at "auto", or give graph=False (--no-graph)'
            )
        return False

    def _kind(self, work: Work[Result], inputs: Sequence[Array], device: Device) -> Kind[Result]:
        """That of this step; a new one, if it is the first."""
        kinds_of_arrays = tuple(
            (array.shape, array.dtype, place) for array, place in zip(inputs, _places(inputs, device), strict=True)
        )
        # Numbers of the optimizer are fed, but which formula it takes is in the recording.
        flags = tuple(
            (name, one) for name, one in vars(self.optimizer).items() if one is None or isinstance(one, bool | str)
        )
        settings = (flags, device, chosen_precision(), kinds_of_arrays, work.settings)
        for attempt in range(2):
            if attempt:
                self.optimizer.gather()  # an array may have left its place in a flat buffer, and nothing else have changed
            for kind in self._kinds:
                if kind.fits(settings, work.held):
                    return kind
        there = [kind for kind in self._kinds if not kind.is_outdated(work.held)]
        waiting = [kind for kind in there if kind.recorded is None]
        if len(waiting) == MOST_WAITING:
            there.remove(waiting[0])
        lay_side_by_side(buffer for _, buffer in self.model.named_buffers())  # before it is seen where they live
        kind = Kind(settings, work.held, Structure(self.model))
        self._kinds = [*there, kind]
        return kind

    def _record(self, kind: Kind[Result], work: Work[Result], inputs: Sequence[Array], device: Device) -> None:
        """Record a step, which is not done by that; or have its kind computed as it is from now on."""
        if self.recordings == self.most:
            reason = f"{self.most} kinds of steps are recorded already, each with memory of its own; {MORE_KINDS}"
            shapes = " and ".join(map(shape_text, _shapes(work, inputs)))
            if self.graph is True:
                raise CaptureError(
                    f"a step with a batch of {shapes} cannot be recorded: {reason}, or graph=False (--no-graph)"
                )
            kind.refused = True
            self._say(f"steps with a batch of {shapes} are computed as they are: {reason}")
            return
        before = ForwardState(self.model)
        try:
            self._check(kind)
            try:
                kind.recorded = self._recorded(work, inputs, _places(inputs, device), device)
            except CaptureError:
                if device.kind == "cpu":
                    raise
                before.restore()  # a loss of one's own may not take labels on the host
                kind.recorded = self._recorded(work, inputs, [device] * len(inputs), device)
            kind.held = work.held
            kind.structure.look_within()
            return
        except CaptureError as error:
            refusal: CaptureError | OutOfMemoryError = error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            refusal = OutOfMemoryError(
                f"{device} is out of memory {place_of(error)}, when a step with a batch of {_shapes(work, inputs)[0][0]} was to be "
                f"recorded, which takes memory of its own; use a smaller batch, or graph=False"
            )
        finally:
            before.restore()
        release(device)  # only now, as the error's traceback held arrays
        if self.graph is True:
            raise refusal
        kind.refused = True
        self._say(f"steps are computed as they are, not recorded: {refusal}")

    def _check(self, kind: Kind[Result]) -> None:
        """CaptureError for what a replay would leave out."""
        if kind.structure.hooked is not None:
            handle = next(iter(kind.structure.hooked._hooks or ()))
            raise CaptureError(
                f"{kind.structure.hooked.label} has a {handle.kind}, which a replay does not call; remove it"
            )
        if kind.undeclared:
            raise CaptureError(
                f"{kind.undeclared[0]}, and which a replay does not change; use backend.fed, as layers.Dropout does"
            )
        known, own = set(self.optimizer.parameters.values()), dict(self.model.named_parameters())
        for path, parameter in own.items():
            if parameter.requires_grad and parameter not in known:
                raise CaptureError(
                    f"{path} learns, but the optimizer does not know it, so that its gradients add up; give it to the optimizer, "
                    f"or freeze it with requires_grad_(False)"
                )
        if others := known - set(own.values()):
            path = min(parameter.path for parameter in others)
            raise CaptureError(
                f"the optimizer's {path} is not in the model; make what holds it an attribute of the model"
            )

    def _recorded(
        self, work: Work[Result], given: Sequence[Array], places: Sequence[Device], device: Device
    ) -> Recorded[Result]:
        inputs = [placed(array, place) for array, place in zip(given, places, strict=True)]
        step, states = functools.partial(work.recorded, *inputs), self._forward_states()
        arrays = [(path, buffer, buffer.array) for path, buffer in self.model.named_buffers()]
        recording: Recording
        if device.kind == "cpu":
            recording, result = CallList.record(step, [*self._arrays(), *work.held.values(), *inputs])
        else:
            recording, result = Graph.record(step, device)
        for path, buffer, array in arrays:
            if buffer.array is not array:
                raise CaptureError(
                    f"{path} gets another array in a forward pass, which a replay would not give it; write into the one that it has"
                )
        counting = [layer for layer, state in self._forward_states().items() if not alike(state, states[layer])]
        for layer in counting:
            if not layer.feeds_forward_state:
                raise CaptureError(
                    f"{layer.label} counts in its forward pass ({', '.join(layer.forward_state())}), which a replay would not; "
                    f"bring numbers with backend.fed, as layers.Dropout does"
                )
        buffers = self.optimizer.flat_buffers()
        return Recorded(
            recording,
            inputs,
            result,
            [(parameter, parameter.grad) for parameter in self.optimizer.parameters.values()],
            [(buffer, positions) for buffer in buffers for positions in buffer.counted_alike()],
            counting,
            [array for (array,) in joined(one.array for _, one in self.model.named_buffers() if device.kind == "cpu")],
        )

    def _forward_states(self) -> dict[Layer, dict[str, Any]]:
        return {layer: inner_copy(layer.forward_state()) for _, layer in self.model.named_layers()}

    def _arrays(self) -> Iterator[Array]:
        """All that a step of the model and the optimizer finds and changes."""
        for buffer in self.optimizer.flat_buffers():
            yield from (buffer.data, buffer.gradient, *buffer.memory.values())
        known = set(self.optimizer.parameters.values())
        for _, member in (*self.model.named_parameters(), *self.model.named_buffers()):
            if member not in known:
                yield member.array

    def _say(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self._tell(reason)

    def __getstate__(self) -> dict[str, Any]:
        # A copy has arrays of its own, of which nothing is recorded.
        return {**vars(self), "_kinds": [], "_replayed": None}


def _places(inputs: Sequence[Array], device: Device) -> list[Device]:
    """Where a recording finds its inputs. Labels that are given on the host stay there, and are looked at in each replay."""
    return [
        device_of(one) if number and isinstance(one, np.ndarray) and one.dtype.kind in "iu" else device
        for number, one in enumerate(inputs)
    ]


def _shapes(work: Work[Any], inputs: Sequence[Array]) -> Sequence[tuple[int, ...]]:
    """Those of images and labels."""
    return work.shapes or [one.shape for one in inputs]


def as_wanted(graph: Wanted) -> Wanted:
    """`graph` itself; ArgumentError unless it is "auto", True or False."""
    if isinstance(graph, bool) or (isinstance(graph, str) and graph == "auto"):
        return graph
    raise ArgumentError(f'graph must be "auto", True or False, got {value_text(graph)}')
