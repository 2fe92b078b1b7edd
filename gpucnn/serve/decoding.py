"""From the bytes of an image file to what the model takes, with the limits that come before the decoder."""

import contextlib
import ctypes
import io
from http import HTTPStatus
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.data.image_kind import kind_of
from gpucnn.data.image_metadata import without_metadata
from gpucnn.data.jpeg_decoders import PILLOW
from gpucnn.data.quiet_reading import quiet_reading
from gpucnn.errors import GpucnnError
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.serve.multipart import File
from gpucnn.serve.pixel_budget import PixelBudget
from gpucnn.serve.refusal import Refusal

if TYPE_CHECKING:
    from PIL import Image

PNG, JPEG, SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xda"
"""How files begin, and each scan of a JPEG."""
FORMATS = ("PNG", "JPEG", "WEBP")
"""As Pillow names them."""
TAKEN = "PNG, JPEG and WebP"
MOST_SCANS = 100
"""Of a JPEG, which encoders make of 1 to some 20: each goes over all pixels, and a few bytes are enough for one."""
SMALL_BYTES, SMALL_PIXELS = 8192, 16384
"""What is decoded where it arrives."""
LARGE_PIXELS = 4_000_000
"""After an image of more, the memory that it took is given back."""
PIXELS_TOGETHER = 50_000_000
"""Decoded at one time, in all threads, unless a single image may have more."""
AS_IT_IS = "send its bytes as they are; with curl by --data-binary, not --data"


class Decoder:
    """Makes raw images of files, in any thread. Refusal for what is no PNG, JPEG or WebP, is too large, or damaged."""

    def __init__(self, trained: TrainedRun, max_pixels: int) -> None:
        self.trained, self.max_pixels = trained, max_pixels
        self._budget = PixelBudget(max(max_pixels, PIXELS_TOGETHER))
        self._shown = trained.shown()
        preprocess = trained.preprocess
        self._shape = preprocess.native_size, preprocess.native_size, preprocess.channels
        self._mode = {1: "L", 3: "RGB"}.get(preprocess.channels)
        self._scaled = np.rint(np.arange(256) * (preprocess.full_scale / 255)).astype(np.uint8)

    def __call__(self, file: File) -> np.ndarray:
        """The raw image (1, C, S, S), just as `TrainedRun.predict` reads it."""
        raw = self._raw(file, self.max_pixels)
        assert raw is not None
        return raw

    def at_once(self, file: File) -> np.ndarray | None:
        """The same of a small file, in less time than it takes to wake a thread; None for others."""
        return self._raw(file, SMALL_PIXELS) if len(file.content) <= SMALL_BYTES else None

    def _raw(self, file: File, most: int) -> np.ndarray | None:
        """None for what has more than `most` pixels and is not to be refused."""
        try:
            return self._read(file.content, most)
        except Refusal as refusal:
            raise refusal.named(file.name) from None
        except Exception as error:  # Pillow raises many kinds for damaged files
            for stripped in without_metadata(file.content):  # damage beside the pixels is none to the image
                with contextlib.suppress(Exception):
                    return self._read(stripped, most)
            found = error.__context__ if isinstance(error, GpucnnError) and error.__context__ else error  # Pillow's own
            reason = " ".join(str(found).split())[:200] or type(found).__name__
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the image cannot be read ({reason})",
                "send the whole file, as it is on disk; with curl by --data-binary, not --data",
            ).named(file.name) from None

    def _read(self, content: bytes, most: int) -> np.ndarray | None:
        from PIL import Image

        if content.startswith(JPEG) and content.count(SCAN) > MOST_SCANS:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"a JPEG of more than {MOST_SCANS} scans",
                "save it anew, as any program does",
            )
        with quiet_reading():
            try:
                opened = Image.open(io.BytesIO(content), formats=FORMATS)
            except Image.DecompressionBombError:  # which has twice the pixels that Pillow warns of
                raise self._too_large("more pixels than Pillow opens") from None
            with contextlib.closing(opened) as image:  # whose pixels are then gone at once
                pixels = image.width * image.height
                if pixels > self.max_pixels:
                    raise self._too_large(f"{image.width}x{image.height} pixels")
                if pixels > most:
                    return None
                decode = PILLOW if image.format == "PNG" else self.trained.decode
                if decode == PILLOW and image.mode == self._mode and image.size == self._shape[:2] and not image.info:
                    return self._as_they_are(image)
                if pixels <= SMALL_PIXELS:  # in the event loop, which must not wait
                    return self.trained.read(image if decode == PILLOW else content, self._shown)
                with self._budget.taken(pixels), contextlib.closing(image):
                    raw = self.trained.read(image if decode == PILLOW else content, self._shown)
        if pixels > LARGE_PIXELS:
            _give_memory_back()
        return raw

    def _as_they_are(self, image: "Image.Image") -> np.ndarray:
        """What `TrainedRun.read` gives for an image that has nothing to be fitted, turned or put on a background: in half the time."""
        pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(self._shape)
        raw: np.ndarray = self._scaled[pixels.transpose(2, 0, 1)[None]]
        return raw

    def _too_large(self, size: str) -> Refusal:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"an image of {size}, at most {self.max_pixels:,} are taken",
            "make the image smaller",
        )


def _give_memory_back() -> None:
    """glibc would keep what Pillow has freed, for each thread the most that an image has ever taken: up to 600 MB for 50 million pixels."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other systems do so by themselves
        ctypes.CDLL(None).malloc_trim(0)


def check_kind(file: File) -> None:
    """Refusal for what does not begin as a PNG, JPEG or WebP does."""
    content = file.content
    if content.startswith((PNG, JPEG)) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return
    if not content:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "an empty file", "send the bytes of an image file").named(
            file.name
        )
    kind = kind_of(content)
    what = f"it begins as {kind} does" if kind else "it begins as no image does"
    fix = f"save it as one of {TAKEN}" if kind else f"save it as one of {TAKEN}, and {AS_IT_IS}"
    raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{what}; {TAKEN} are taken", fix).named(file.name)
