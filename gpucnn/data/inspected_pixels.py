"""InspectedPixels: small images as an inspection has decoded them, so that who learns from them need not decode them again."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gpucnn.data.file_stamp import is_settled, stamp
from gpucnn.data.image_file import centre_crop
from gpucnn.data.inspection_memory import stamp_of
from gpucnn.data.plain_image import plain_mode

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 1 << 28
"""Of all images together."""

MOST_PIXELS = 1 << 14
"""Of one image: of a larger one few would find room."""


class _Decoded(NamedTuple):
    stamp: list[int]
    pixels: np.ndarray
    """Bytes (H, W) of a grey image, (H, W, 3) of one in colours."""


class InspectedPixels:
    """Images by the paths of their files, `most_bytes` of them: `note(...)` adds one, and `take(...)` gives it, once.

    They are plain ones, see `plain_image`, as Pillow decodes them, whose pixels depend on no setting. One whose file has
    changed since, or may have, is not given. Any number of threads may use it. A pickle of it has none.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._left, self._most = most_bytes, most_bytes
        self._found: dict[Path, _Decoded] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def __reduce__(self) -> tuple[type["InspectedPixels"], tuple[int]]:
        return InspectedPixels, (self._most,)

    def note(
        self, path: Path, around: tuple[os.stat_result, os.stat_result], content: bytes, image: "Image.Image"
    ) -> None:
        """Keep an RGB image decoded from this `content`, if it is one to keep; `around` is the file's status before and after."""
        before, after = around
        if image.width * image.height > MOST_PIXELS or path.suffix.lower() == ".npy":
            return
        mode = plain_mode(content)
        if mode is None or not is_settled(stamp(after)) or stamp_of(before) != stamp_of(after):
            return
        pixels = np.array(
            image.getchannel(0) if mode == "L" else image
        )  # of the RGB image of a grey one all three are equal
        with self._lock:
            if pixels.nbytes <= self._left:
                self._left -= pixels.nbytes
                self._found[path] = _Decoded(stamp_of(after), pixels)

    def take(self, path: Path, status: os.stat_result | None, channels: int, size: int) -> np.ndarray | None:
        """The raw image (channels, size, size) in the file at `path`; None unless it is here, and the file's `status` what it was."""
        found = self._found.pop(path, None)
        if found is None or status is None or stamp_of(status) != found.stamp:
            return None
        from PIL import Image

        image = Image.fromarray(found.pixels)
        mode = "L" if channels == 1 else "RGB"
        return centre_crop(image if image.mode == mode else image.convert(mode), size)
