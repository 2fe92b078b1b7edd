"""One image read, from wherever it is, in the raw format that a `Preprocess` takes."""

import numpy as np

from gpucnn.checks import as_choice
from gpucnn.data.image_file import AUTO, BACKGROUNDS, ImageSource, centre_crop, decode_image, planes_of
from gpucnn.data.jpeg_decoders import PILLOW, check_decoder
from gpucnn.data.packed import read_file_or_stored
from gpucnn.data.preprocess import Preprocess
from gpucnn.errors import ArgumentError
from gpucnn.text import value_text


def read_image(image: ImageSource, preprocess: Preprocess, background: str = AUTO, decode: str = PILLOW) -> np.ndarray:
    """The image in a PNG, JPEG or other file that Pillow reads, or in a .npy array, as raw (1, C, size, size).

    - `image`: the path of the file, which may go on into a tar, a Parquet file or an array of many, as `ImageFolder.paths` do, its content, or the file, open in binary mode and read from where it stands; or an image
      of Pillow's; or an array (H, W), (C, H, W) or (H, W, C) of bytes from 0 to 255, truth values, or 16 bits (uint16, from 0
      to 65535), with a fourth channel for transparency. In a .npy file there may be floats from 0 to 1, too.
    - `background`: "auto", "white" or "black", what is behind transparent parts.
    - `decode`: what decodes JPEGs, to bits of its own: "pillow"; "pillow-draft", by Pillow at 1/2, 1/4 or 1/8 of their size, if that
      is at least as large as what is wanted, where `preprocess` cuts images out; "simplejpeg", an extra.

    It is turned to grey or RGB and fitted to the data set's native size as `preprocess` has it: squeezed into the square, or
    cut out of the middle. Raises DataError, which names the file, for what is no image, ArgumentError for another type, and
    LibraryError without the library of the decoder.
    """
    from PIL import Image

    if not isinstance(preprocess, Preprocess):
        raise ArgumentError(f"read_image: preprocess must be a data.Preprocess, got {value_text(preprocess)}")
    as_choice(background, "background", BACKGROUNDS)
    size, least = preprocess.native_size, preprocess.native_size if preprocess.fit == "crop" else 0
    decoded = decode_image(
        image,
        preprocess.channels,
        background=background,
        read=read_file_or_stored,
        decode=check_decoder(decode),
        least=least,
    )
    if preprocess.fit == "crop":
        pixels = centre_crop(decoded, size)
    else:
        method = Image.Resampling.BOX if decoded.width > size else Image.Resampling.BILINEAR
        pixels = planes_of(decoded.resize((size, size), method))
    return np.rint(pixels[None] * (preprocess.full_scale / 255)).astype(np.uint8)
