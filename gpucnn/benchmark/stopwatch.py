"""How long calls take: on the host by its clock, on a GPU by CUDA events, each library with its own."""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from gpucnn.backend import Device, current
from gpucnn.benchmark import pytorch
from gpucnn.benchmark.rivals import Rival

Run: TypeAlias = Callable[[], object]

Stopwatch: TypeAlias = Callable[[Run, int], float]
"""From a function, and how often to call it, to the seconds that a call takes."""


def stopwatch(rival: Rival, device: Device) -> Stopwatch:
    """What measures calls of `rival` on `device`."""
    if device.kind == "cpu":
        return host
    return _cupy_events(device) if rival.ours else _pytorch_events(device)


def host(run: Run, calls: int) -> float:
    """By the host's clock: for what has computed when it returns."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _cupy_events(device: Device) -> Stopwatch:
    cuda: Any = device.xp.cuda

    def measure(run: Run, calls: int) -> float:
        with current(device):
            start, end = cuda.Event(), cuda.Event()
            start.record()
            for _ in range(calls):
                run()
            end.record()
            end.synchronize()
            return float(cuda.get_elapsed_time(start, end)) / 1000 / calls

    return measure


def _pytorch_events(device: Device) -> Stopwatch:
    cuda = pytorch.torch().cuda
    stream = cuda.current_stream(device.index)

    def measure(run: Run, calls: int) -> float:
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        start.record(stream)
        for _ in range(calls):
            run()
        end.record(stream)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / calls

    return measure
