"""The training step of `training_step` on compiled loops, recorded once; and what a replay takes beside its loops."""

import functools
import time
from collections.abc import Callable

import numpy as np

from gpucnn import functions as F
from gpucnn import models
from gpucnn.autograd import Tensor
from gpucnn.benchmark.training_step import CLASSES, LEARNING_RATE, MOMENTUM, Workload
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.recording import CallList
from gpucnn.kernels.ways import use
from gpucnn.optim import SGD


def recorded_step(workload: Workload) -> tuple[CallList, Tensor]:
    """A list whose replay is one training step on the CPU, and the loss that it gives.

    Raises CaptureError for a model that is more than compiled loops.
    """
    images, labels = workload.batch()
    labels = labels.astype(np.int32)
    model = models.create(workload.model, CLASSES, seed=0)
    optimizer = SGD(model.parameters(), LEARNING_RATE, MOMENTUM)
    optimizer.gather()

    def step() -> Tensor:
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.apply()
        return loss

    flat = [
        one for buffer in optimizer.flat_buffers() for one in (buffer.data, buffer.gradient, *buffer.memory.values())
    ]
    kept = [buffer.data for _, buffer in model.named_buffers()]
    with use("jit"):
        return CallList.record(step, [images, labels, *flat, *kept])


def seconds_outside_of_loops(calls: CallList, turns: int = 200) -> tuple[float, float]:
    """How long a replay takes at best, and how long it does if no loop does anything: what Python and threads take."""
    empty = calls.calling(loop.nothing())
    whole, outside = (min(map(functools.partial(_seconds, one.replay), range(turns))) for one in (calls, empty))
    return whole, outside


def _seconds(call: Callable[[], None], _: int) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
