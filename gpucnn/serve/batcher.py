"""Images of many requests in one batch: a queue, threads that decode, and one in which the model computes."""

import asyncio
import queue
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import TypeAlias

import numpy as np

from gpucnn.runs.trained_run import Answers
from gpucnn.serve.decoding import Decoder
from gpucnn.serve.metrics import Metrics
from gpucnn.serve.multipart import File
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.refusal import Refusal
from gpucnn.serve.served_model import ServedModel

DECODERS = 2
"""Threads that decode, at most one large image each."""
SMALL = 65_536
"""Bytes of images that a thread takes at one time: to wake it for each small one costs more than to decode it."""
PAUSE = 0.1
"""The share of the wait after which a batch in which nothing more has come is computed."""

Outcome: TypeAlias = "Answers | Exception"


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
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
            return
        self.answers[place] = outcome
        self.left -= 1
        if not self.left:
            self.future.set_result(self.answers)


class Job:
    """An image on its way: its file, then its pixels."""

    __slots__ = ("accepted", "file", "place", "raw", "top")

    def __init__(self, file: File, top: int, accepted: Accepted, place: int) -> None:
        self.file, self.top, self.accepted, self.place = file, top, accepted, place
        self.raw: np.ndarray | None = None


class Batcher:
    """Answers images, those of different requests together. `waiting` images were accepted and have no answer yet."""

    def __init__(self, model: ServedModel, decoder: Decoder, class_names: Sequence[str], options: ServeOptions) -> None:
        self.model, self.decoder, self.class_names, self.options = model, decoder, class_names, options
        self.waiting = 0
        self.metrics = Metrics(lambda: self.waiting)
        self._files: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._decoded: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the threads, for the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        works = [*[self._decode] * DECODERS, self._compute]
        self._threads = [threading.Thread(target=work, name=f"serve {work.__name__}", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, once what was accepted is done."""
        threads, self._threads = self._threads, []
        for _ in threads[:-1]:
            self._files.put(None)
        for thread in threads[:-1]:
            thread.join()
        if threads:
            self._decoded.put(None)
            threads[-1].join()

    def accept(self, files: Sequence[File], top: int) -> "asyncio.Future[list[Answers]]":
        """Take images into the queue, for the `top` classes of each. Refusal if there is no place for all of them."""
        if not self._threads:
            self.start()
        assert self._loop is not None
        if self.waiting + len(files) > self.options.queue:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.waiting} images wait already, of at most {self.options.queue}",
                "come again in a moment",
                {"retry-after": "1"},
            )
        self.waiting += len(files)
        accepted = Accepted(len(files), self._loop.create_future())
        for place, file in enumerate(files):
            self._files.put(Job(file, top, accepted, place))
        return accepted.future

    def _decode(self) -> None:
        """The work of a decoder."""
        while (job := self._files.get()) is not None:
            jobs = [job, *self._small_ones_beside(job)]
            failed: list[tuple[Job, Outcome]] = []
            for job in jobs:
                try:
                    job.raw = self.decoder(job.file)
                except Exception as error:
                    failed.append((job, error))
            if failed:
                self._tell(failed)
            if len(failed) < len(jobs):
                self._decoded.put([job for job in jobs if job.raw is not None])

    def _small_ones_beside(self, job: Job) -> Iterator[Job]:
        size = len(job.file.content)
        while size < SMALL:
            try:
                other = self._files.get_nowait()
            except queue.Empty:
                return
            if other is None:
                self._files.put(None)  # for another turn
                return
            size += len(other.file.content)
            yield other

    def _compute(self) -> None:
        """The work of the model's thread."""
        while (jobs := self._decoded.get()) is not None:
            jobs = self._with_others(jobs)
            for start in range(0, len(jobs), self.options.max_batch):
                part = jobs[start : start + self.options.max_batch]
                try:
                    outcomes = self._outcomes(part)
                except Exception as error:
                    traceback.print_exc()
                    outcomes = [error] * len(part)
                self._tell(list(zip(part, outcomes, strict=True)))

    def _with_others(self, jobs: list[Job]) -> list[Job]:
        """These, and those that come while there is time to wait for them."""
        wait = self.options.wait_ms / 1000
        end = time.monotonic() + wait
        while len(jobs) < self.options.max_batch:
            try:
                more = self._decoded.get(timeout=max(0.0, min(end - time.monotonic(), wait * PAUSE)))
            except queue.Empty:
                break
            if more is None:
                self._decoded.put(None)
                break
            jobs += more
        return jobs

    def _outcomes(self, jobs: list[Job]) -> list[Outcome]:
        began = time.perf_counter()
        probabilities = self.model.probabilities(np.concatenate([job.raw for job in jobs if job.raw is not None]))
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

    def _tell(self, outcomes: list[tuple[Job, Outcome]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver, outcomes)
        except RuntimeError:  # the loop has ended, and nobody waits
            return

    def _deliver(self, outcomes: list[tuple[Job, Outcome]]) -> None:
        """In the event loop: wake those who wait."""
        self.waiting -= len(outcomes)
        for job, outcome in outcomes:
            job.accepted.tell(job.place, outcome)
