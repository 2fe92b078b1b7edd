"""Images as a page has them: small, several in one file, and the file within the page."""

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.backend import to_host
from gpucnn.data import Dataset, Preprocess
from gpucnn.html_fragments import data_uri
from gpucnn.plot.figure import HEAT
from gpucnn.plot.heat import MOST_COVERED
from gpucnn.plot.shown_image import picture

LARGEST = 96
"""Pixels of a thumbnail's side."""
EXACT = 1_000
"""Bytes of an image that are little enough to have it as it is; one that takes more may be compressed with a loss."""
QUALITY = 85
PER_SHEET, COLUMNS = 64, 8


class Sheets(NamedTuple):
    """Images in files, each with as many as fit, in rows of `COLUMNS`."""

    uris: tuple[str, ...]
    number: int
    """How many images there are, of those that were asked for the first."""
    width: int
    """Of an image in pixels; they are squares."""


def model_images(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """The images at some places of a data set as its model takes them: float32 (N, C, H, W)."""
    return np.asarray(to_host(dataset[indices][0]), np.float32)


def pixels(images: np.ndarray, preprocess: Preprocess) -> list[np.ndarray]:
    """What a model takes (N, C, H, W) as bytes to look at (H, W, 3), no larger than a thumbnail."""
    return [smaller(in_colours(picture(image, preprocess))) for image in images]


def in_colours(image: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1, (H, W) or (H, W, 3), as bytes (H, W, 3)."""
    whole = np.rint(image * 255).astype(np.uint8)
    return np.repeat(whole[..., None], 3, axis=2) if whole.ndim == 2 else whole


def with_heat(thumbnail: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image of bytes (H, W, 3) in grey, with `heat` (h, w), from 0 to 1, over it in colours: the more, the less is left of it."""
    import matplotlib
    from PIL import Image

    height, width = thumbnail.shape[:2]
    sized = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    share = np.nan_to_num(sized)[..., None].clip(0, 1)
    colours = matplotlib.colormaps[HEAT](share[..., 0])[..., :3] * 255
    grey, cover = thumbnail.mean(axis=2, keepdims=True), MOST_COVERED * share
    found: np.ndarray = np.rint(grey * (1 - cover) + colours * cover).astype(np.uint8)
    return found


def smaller(image: np.ndarray) -> np.ndarray:
    """An image of bytes (H, W, 3), brought to the size of a thumbnail if it is larger."""
    from PIL import Image

    if max(image.shape[:2]) <= LARGEST:
        return image
    made = Image.fromarray(np.ascontiguousarray(image))
    made.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(made)


def sheets(images: Iterator[np.ndarray] | Sequence[np.ndarray], most_bytes: int) -> Sheets:
    """Images of one size, bytes (H, W, 3), as sheets that together take at most so many bytes of the page."""
    uris: list[str] = []
    count = width = taken = 0
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image)
        width = image.shape[1]
        if len(waiting) == PER_SHEET:
            uri = image_uri(_sheet(waiting), len(waiting))
            if taken + len(uri) > most_bytes:
                waiting = []
                break
            uris, count, taken, waiting = [*uris, uri], count + len(waiting), taken + len(uri), []
    if waiting:
        uri = image_uri(_sheet(waiting), len(waiting))
        if taken + len(uri) <= most_bytes:
            uris, count = [*uris, uri], count + len(waiting)
    return Sheets(tuple(uris), count, width)


def image_uri(image: np.ndarray, images: int = 1) -> str:
    """Bytes (H, W, 3) as a file within the page: PNG, or WebP where that is smaller, and PNG is not small for so many `images`."""
    from PIL import Image

    grey = (image[..., :1] == image).all()
    made = Image.fromarray(np.ascontiguousarray(image[..., 0] if grey else image))
    exact = _file(made, "PNG", optimize=True)
    if len(exact) <= EXACT * images:
        return data_uri("png", exact)
    lossy = _file(made, "WEBP", quality=QUALITY)
    return data_uri("webp", lossy) if len(lossy) < len(exact) else data_uri("png", exact)


def _file(image: "object", kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[attr-defined]
    return file.getvalue()


def _sheet(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images in rows beside one another; what is left of the last row is black."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // COLUMNS)
    found = np.zeros((rows * height, min(len(images), COLUMNS) * width, 3), np.uint8)
    for place, image in enumerate(images):
        row, column = divmod(place, COLUMNS)
        found[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return found
