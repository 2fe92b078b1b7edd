"""Images of many requests in one batch: small files are decoded at once, others in threads, and the model has one of its own."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend.threads import thread_count
from gpucnn.runs.trained_run import Answers, TrainedRun
from gpucnn.serve.decoding import Decoder
from gpucnn.serve.metrics import Metrics
from gpucnn.serve.multipart import File
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.refusal import Refusal, own_fault
from gpucnn.serve.served_model import ServedModel

FIX = "it with light and dark turned round"
"""What to give instead of an image that is dark on light."""


class Seen(NamedTuple):
    """What the model saw in an image."""

    answers: Answers
    warning: str
    """As `TrainedRun.predict` gives it; empty for none."""


Outcome: TypeAlias = "Seen | BaseException"


class Accepted:
    """The images of one request, and what was seen, once all is there. `future` is that of whoever waits for it."""

    __slots__ = ("future", "left", "seen")

    def __init__(self, count: int, future: "asyncio.Future[list[Seen]]") -> None:
        self.future, self.left = future, count
        self.seen = [Seen([], "")] * count

    def tell(self, place: int, outcome: Outcome) -> None:
        """What came of the image at `place`: the first error is that of all."""
        if self.future.done():  # its client has gone, or another of its images was none
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
            return
        self.seen[place] = outcome
        self.left -= 1
        if not self.left:
            self.future.set_result(self.seen)


class Job:
    """A raw image (1, C, S, S) that waits for the model, for the `top` classes."""

    __slots__ = ("accepted", "place", "raw", "top")

    def __init__(self, raw: np.ndarray, top: int, accepted: Accepted, place: int) -> None:
        self.raw, self.top, self.accepted, self.place = raw, top, accepted, place


class Batcher:
    """Answers images, those of different requests together.

    All but decoding and the model itself runs in the event loop. An image is computed at once, together with those that wait,
    when the model is free and no other is on its way; else it waits for these, up to `wait_ms`.

    `waiting` images were accepted and have no answer yet; `arriving` requests are being read.
    """

    def __init__(self, trained: TrainedRun, model: ServedModel, options: ServeOptions) -> None:
        self.trained, self.model, self.options = trained, model, options
        self.decoder = Decoder(trained, options.max_pixels)
        self.waiting = self.arriving = 0
        self.metrics = Metrics(lambda: self.waiting)
        self._decoding = 0
        self._jobs: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False
        self._is_computing = False
        self._decoders = ThreadPoolExecutor(thread_count(), "serve decoder")
        self._thread = ThreadPoolExecutor(1, "serve model")

    def stop(self) -> None:
        """End the threads, once what they do is done."""
        self._decoders.shutdown()
        self._thread.shutdown()

    def accept(self, files: Sequence[File], top: int) -> "asyncio.Future[list[Seen]]":
        """Take image files, for the `top` classes of each. Refusal if there is no place for all, or one is no image."""
        if self.waiting + len(files) > self.options.queue:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.waiting} images wait already, of at most {self.options.queue}",
                "come again in a moment",
                {"retry-after": "1"},
            )
        loop = asyncio.get_running_loop()
        accepted = Accepted(len(files), loop.create_future())
        raw = self.decoder.at_once(files[0]) if len(files) == 1 else None
        self.waiting += len(files)
        if raw is not None:
            self._add(Job(raw, top, accepted, 0))
            return accepted.future
        self._decoding += len(files)
        for place, file in enumerate(files):
            decoding = loop.run_in_executor(self._decoders, self.decoder, file)
            decoding.add_done_callback(partial(self._decoded, top, accepted, place))
        return accepted.future

    def _decoded(self, top: int, accepted: Accepted, place: int, decoding: "asyncio.Future[np.ndarray]") -> None:
        self._decoding -= 1
        if error := decoding.exception():
            self.waiting -= 1
            accepted.tell(place, error)
            self._look()
        else:
            self._add(Job(decoding.result(), top, accepted, place))

    def _add(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        if not self._jobs:
            if self._timer:
                self._timer.cancel()
            self._is_due, self._timer = False, loop.call_later(self.options.wait_ms / 1000, self._wait_no_longer)
        self._jobs.append(job)
        loop.call_soon(self._look)  # not at once: others may have arrived in this turn of the loop

    def _wait_no_longer(self) -> None:
        self._is_due = True  # the clock may say that it is a little too early: uvloop's timers have milliseconds
        self._look()

    def _look(self) -> None:
        """Have the model compute what waits, if it is free and there is nobody to wait for."""
        if self._is_computing:
            return
        loop, most = asyncio.get_running_loop(), self.options.max_batch
        # That of a client that has gone is done, and of one that sent another image, which was none.
        wanted = [job for job in self._jobs if not job.accepted.future.done()]
        self.waiting -= len(self._jobs) - len(wanted)
        is_worth_a_wait = len(wanted) < most and (self.arriving or self._decoding) and not self._is_due
        if not wanted or is_worth_a_wait:
            self._jobs = wanted
            return
        jobs, self._jobs = wanted[:most], wanted[most:]
        self._is_computing = True
        computing = loop.run_in_executor(self._thread, self._outcomes, jobs)
        computing.add_done_callback(partial(self._computed, jobs))

    def _computed(self, jobs: list[Job], computing: "asyncio.Future[list[Seen]]") -> None:
        self._is_computing = False
        self.waiting -= len(jobs)
        self._look()  # the model goes on while answers are written
        if error := computing.exception():
            traceback.print_exception(error)
            for job in jobs:
                job.accepted.tell(job.place, own_fault())
            return
        for job, seen in zip(jobs, computing.result(), strict=True):
            job.accepted.tell(job.place, seen)

    def _outcomes(self, jobs: list[Job]) -> list[Seen]:
        """In the model's thread."""
        began, raw = time.perf_counter(), np.concatenate([job.raw for job in jobs])
        probabilities = self.model.probabilities(raw)
        self.metrics.batch(len(jobs), time.perf_counter() - began)
        if not np.isfinite(probabilities).all():
            raise ArithmeticError("the model's answer is not finite")
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(job.top for job in jobs)]
        found = np.take_along_axis(probabilities, best, axis=1).tolist()
        names, warnings = self.trained.class_names, self.trained.doubts("/predict", raw, FIX)
        return [
            Seen(
                [(names[place], value) for place, value in zip(places[: job.top], values[: job.top], strict=True)],
                warning,
            )
            for job, places, values, warning in zip(jobs, best.tolist(), found, warnings, strict=True)
        ]
