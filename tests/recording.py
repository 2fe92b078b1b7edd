"""A recording that can be replayed on any array module: of calls that work in place, and of what they are fed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.backend import Array, Device, overwrite, to_device
from gpucnn.backend.feeds import collecting


class Recording:
    """Calls that were noted, and the feeds they read: `replay` refreshes these and makes those again."""

    def __init__(self) -> None:
        self.feeds: list[tuple[Callable[[], np.ndarray], Array]] = []
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def add(self, values: Callable[[], np.ndarray], device: Device) -> Array:
        """What `fed` asks for: an array that holds nothing of use before the first replay."""
        self.feeds.append((values, to_device(np.zeros_like(values()), device)))
        return self.feeds[-1][1]

    def note(self, call: Callable[..., Any]) -> Callable[..., None]:
        """A function that notes its arguments instead of calling `call`."""
        return lambda *arguments: self.calls.append((call, arguments))

    def make(self, step: Callable[[], Any]) -> None:
        """Run `step`, whose noted calls and feeds become the recording."""
        with collecting(self):
            step()

    def replay(self) -> None:
        for values, array in self.feeds:
            overwrite(array, values())
        for call, arguments in self.calls:
            call(*arguments)
