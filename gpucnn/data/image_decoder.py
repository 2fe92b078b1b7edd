"""ImageDecoder: from the content of an image file to a raw image of a fixed size, by a decoder that is chosen by name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpucnn.checks import as_choice, as_count
from gpucnn.data.image_file import AUTO, BACKGROUNDS, centre_crop, decode_image
from gpucnn.data.jpeg_decoders import PILLOW, check_decoder
from gpucnn.data.plain_image import PNG, plain_square
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text


@dataclass(frozen=True, slots=True)
class ImageDecoder:
    """Call it with an image file's content and what messages call it, for bytes (C, size, size). Any thread may.

    The image is turned upright, made grey or RGB, resized so that its shorter side is `size`, and cropped to the middle.

    - `channels`: 1 for grey, 3 for RGB.
    - `background`: what is behind transparent parts, see `read_image`.
    - `decode`: what decodes JPEGs, one of `DECODERS`: they differ in bits, so it is a setting, and not what is installed.

    Raises DataError, which names the file, for what is no image; ArgumentError for settings that are wrong, and LibraryError
    without the library of the decoder.
    """

    channels: int
    size: int
    background: str = AUTO
    decode: str = PILLOW

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ArgumentError(f"channels must be 1 or 3, got {value_text(self.channels)}")
        as_count(self.size, "size")
        as_choice(self.background, "background", BACKGROUNDS)
        check_decoder(self.decode)

    def __call__(self, content: bytes, name: str) -> np.ndarray:
        if (
            content.startswith(PNG) or self.decode == PILLOW
        ):  # most of the time of a tiny image is spent around its decoder
            pixels = plain_square(content, "L" if self.channels == 1 else "RGB", self.size)
            if pixels is not None and not name.lower().endswith(".npy"):
                return pixels
        image = decode_image(
            Path(name),
            self.channels,
            background=self.background,
            read=lambda _: content,
            decode=self.decode,
            least=self.size,
        )
        return centre_crop(image, self.size)
