"""Images of many requests in one batch: small files are decoded at once, others in threads, and the model has one of its own."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TypeAlias

import numpy as np

from gpucnn.backend.threads import thread_count
from gpucnn.runs.trained_run import Answers
from gpucnn.serve.decoding import Decoder
from gpucnn.serve.metrics import Metrics
from gpucnn.serve.multipart import File
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.refusal import Refusal, own_fault
from gpucnn.serve.served_model import ServedModel

Outcome: TypeAlias = "Answers | BaseException"


class Accepted:
    """The images of one request, and its answers once all are there. `future` is that of whoever waits for them."""

    __slots__ = ("answers", "future", "left")

    def __init__(self, count: int, future: "asyncio.Future[list[Answers]]") -> None:
        self.future, self.left = future, count
        self.answers: list[Answers] = [[]] * count

    def tell(self, place: int, outcome: Outcome) -> None:
        """What came of the image at `place`: the first error is that of all."""
        if self.future.done():  # its client has gone, or another of its images was none
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
            return
        self.answers[place] = outcome
        self.left -= 1
        if not self.left:
            self.future.set_result(self.answers)


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

    def __init__(self, model: ServedModel, decoder: Decoder, class_names: Sequence[str], options: ServeOptions) -> None:
        self.model, self.decoder, self.class_names, self.options = model, decoder, class_names, options
        self.waiting = self.arriving = 0
        self.metrics = Metrics(lambda: self.waiting)
        self._decoding = 0
        self._jobs: list[Job] = []
        self._until = 0.0
        self._is_computing = False
        self._decoders = ThreadPoolExecutor(thread_count(), "serve decoder")
        self._thread = ThreadPoolExecutor(1, "serve model")

    def stop(self) -> None:
        """End the threads, once what they do is done."""
        self._decoders.shutdown()
        self._thread.shutdown()

    def accept(self, files: Sequence[File], top: int) -> "asyncio.Future[list[Answers]]":
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
            self._until = loop.time() + self.options.wait_ms / 1000
            loop.call_at(self._until, self._look)
        self._jobs.append(job)
        loop.call_soon(self._look)  # not at once: others may have arrived in this turn of the loop

    def _look(self) -> None:
        """Have the model compute what waits, if it is free and there is nobody to wait for."""
        loop, most = asyncio.get_running_loop(), self.options.max_batch
        is_worth_a_wait = len(self._jobs) < most and (self.arriving or self._decoding) and loop.time() < self._until
        if self._is_computing or not self._jobs or is_worth_a_wait:
            return
        taken, self._jobs = self._jobs[:most], self._jobs[most:]
        jobs = [job for job in taken if not job.accepted.future.done()]  # that of a client that has gone is
        self.waiting -= len(taken) - len(jobs)
        if jobs:
            self._is_computing = True
            computing = loop.run_in_executor(self._thread, self._outcomes, jobs)
            computing.add_done_callback(partial(self._computed, jobs))

    def _computed(self, jobs: list[Job], computing: "asyncio.Future[list[Answers]]") -> None:
        self._is_computing = False
        self.waiting -= len(jobs)
        self._look()  # the model goes on while answers are written
        if error := computing.exception():
            traceback.print_exception(error)
            for job in jobs:
                job.accepted.tell(job.place, own_fault())
            return
        for job, answers in zip(jobs, computing.result(), strict=True):
            job.accepted.tell(job.place, answers)

    def _outcomes(self, jobs: list[Job]) -> list[Answers]:
        """In the model's thread."""
        began = time.perf_counter()
        probabilities = self.model.probabilities(np.concatenate([job.raw for job in jobs]))
        self.metrics.batch(len(jobs), time.perf_counter() - began)
        if not np.isfinite(probabilities).all():
            raise ArithmeticError("the model's answer is not finite")
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(job.top for job in jobs)]
        found = np.take_along_axis(probabilities, best, axis=1).tolist()
        return [
            [
                (self.class_names[place], value)
                for place, value in zip(places[: job.top], values[: job.top], strict=True)
            ]
            for job, places, values in zip(jobs, best.tolist(), found, strict=True)
        ]
