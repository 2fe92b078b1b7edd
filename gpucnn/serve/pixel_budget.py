"""How many pixels are decoded at one time: each takes up to 25 bytes until its image is as small as the model's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Shared by the threads that decode: together they never have more than `most` pixels, so large images come one after another."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Inside, so many of them are taken: all, where an image has more. Waits until there are as many left."""
        pixels = min(pixels, self.most)
        with self._changed:
            self._changed.wait_for(lambda: self.left >= pixels)
            self.left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self.left += pixels
                self._changed.notify_all()
