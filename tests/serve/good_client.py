"""A client that asks for what it knows, over and over, while others misbehave: each answer must come, and be right."""

import http.client
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.serve.answer import PATIENCE, Answer, answered
from tests.serve.service import Service


class Known:
    """Images and what `gpucnn.load(RUN).predict` says of each."""

    def __init__(self, images: Sequence[bytes], answers: Sequence[dict[str, float]]) -> None:
        self.images, self.answers = images, answers

    def problem(self, place: int, answer: Answer) -> str:
        """What is wrong with the answer for an image; empty if nothing is."""
        if answer.status != 200:
            return f"image {place}: status {answer.status}: {answer.content[:200]!r}"
        found, right = answer.classes, self.answers[place]
        if found.keys() != right.keys():
            return f"image {place}: {found}, expected {right}"
        # Not `difference > 1e-5`, of which a NaN is no part.
        wrong = [name for name in right if not abs(found[name] - right[name]) <= 1e-5]
        return f"image {place}: {found}, expected {right}" if wrong else ""


class GoodClient:
    """Inside `with`, a thread that posts known images on one connection; `problems` are empty in the end, and `count` is how many were asked."""

    def __init__(self, service: Service, known: Known) -> None:
        self.service, self.known = service, known
        self.problems: list[str] = []
        self.count = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=PATIENCE)
        while not self._is_over.is_set() or not self.count:
            place = self.count % len(self.known.images)
            self.count += 1
            try:
                connection.request("POST", "/predict", self.known.images[place], {"Content-Type": "image/png"})
                problem = self.known.problem(place, answered(connection))
            except (OSError, http.client.HTTPException) as error:
                problem = f"image {place}: {type(error).__name__}: {error}"
                connection.close()
            if problem:
                self.problems.append(problem)
            self._is_over.wait(0.002)
        connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "an answer never came"
