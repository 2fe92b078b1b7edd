"""How a service runs: its limits, and how long it waits for whom."""

from dataclasses import dataclass

from gpucnn.checks import as_count, as_number
from gpucnn.errors import ArgumentError

MOST_PIXELS = 178_956_970
"""Twice the `MAX_IMAGE_PIXELS` of Pillow."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The limits of a service.

    - `max_batch`: images that the model sees at one time, at most.
    - `wait_ms`: how long an image waits, at most, for others that are on their way, to come into its batch, in milliseconds.
    - `max_bytes`: of a request.
    - `max_pixels`: of an image, as its header tells them, before it is decoded.
    - `queue`: images that may wait for the model; whoever comes then is asked to come again.
    - `read_seconds`: in which a request must have arrived.
    - `grace_seconds`: for answers to what was accepted before the service was asked to end.

    Raises ArgumentError for what is no limit.
    """

    max_batch: int = 32
    wait_ms: float = 5
    max_bytes: int = 10_000_000
    max_pixels: int = 50_000_000
    queue: int = 256
    read_seconds: float = 30
    grace_seconds: float = 30

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_bytes", "max_pixels", "queue"):
            as_count(getattr(self, name), name)
        if self.max_pixels > MOST_PIXELS:
            raise ArgumentError(
                f"max_pixels must be at most {MOST_PIXELS:,}, as Pillow reads no more, got {self.max_pixels:,}"
            )
        as_number(self.wait_ms, "wait_ms")
        for name in ("read_seconds", "grace_seconds"):
            if as_number(getattr(self, name), name) == 0:
                raise ArgumentError(f"{name} must be above 0: nobody can answer in no time")
