"""From bytes of any size to the raw images of a model, to the byte as Pillow resizes them."""

import os
from functools import lru_cache
from typing import Any

import numpy as np

TALL = (2.0, -1.0)
"""What is higher than a * width + b * size becomes lower first, then narrower: Pillow 13."""


def single_images(images: Any) -> list[Any]:
    """The images in a list or an array (N, ...), or the single one."""
    is_several = isinstance(images, list | tuple) or np.ndim(images) == 4
    return list(images) if is_several else [images]


def as_pixels(image: Any, channels: int, background: str) -> np.ndarray:
    """A file's or an array's as bytes (H, W, channels), none transparent."""
    is_file = isinstance(image, str | os.PathLike)
    image = read_file(os.fspath(image), channels) if is_file else with_channels(image)
    image = as_bytes(image)
    if image.shape[2] == 4:
        image = opaque(image, background)
    if channels == 1 and image.shape[2] == 3:
        return luminance(image)[..., None]
    return np.repeat(image, 3, 2) if channels > image.shape[2] else image


def read_file(path: str, channels: int) -> np.ndarray:
    """The array in a .npy file, or with Pillow what is in an image file: (H, W, C)."""
    if path.lower().endswith(".npy"):
        return with_channels(np.load(path))
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ValueError(
            "without Pillow only .npy files are read: pip install pillow",
        ) from None
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "IF":  # 16 bits
        return np.rint(np.asarray(image)[..., None] * (255 / 65535)).astype(np.uint8)
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[..., None] if channels == 1 else pixels


def with_channels(image: Any) -> np.ndarray:
    """An array (H, W), (H, W, C) or (C, H, W) as (H, W, C)."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ValueError(
            f"expected an image (H, W), (H, W, C) or (C, H, W), got {image.shape}; "
            f"of several give an array (N, H, W, C), or a list",
        )
    return image


def as_bytes(image: np.ndarray) -> np.ndarray:
    """Bytes of whole numbers from 0 to 255, truth values or floats from 0 to 1."""
    if image.dtype == np.uint8:
        return image
    top = 255 if image.dtype.kind in "iu" else 1
    if image.dtype.kind not in "biuf":
        raise ValueError(f"expected an image of numbers, got {image.dtype}")
    if not (image.min() >= 0 and image.max() <= top):
        raise ValueError(
            f"expected numbers from 0 to 255, or floats from 0 to 1, got {image.dtype} "
            f"from {image.min():g} to {image.max():g}; give pixels as they were before "
            f"normalisation, those of 16 bits as image / 65535",
        )
    precise = image.dtype.kind == "f" and image.itemsize > 4
    scaled = np.multiply(image, 255 / top, dtype=float if precise else np.float32)
    return np.rint(scaled).astype(np.uint8)


def luminance(pixels: np.ndarray) -> np.ndarray:
    """How light bytes (H, W, 3) are, (H, W)."""
    shares = np.array([19595, 38470, 7471])  # of 2^16: 0.299, 0.587 and 0.114
    return ((pixels[..., :3] @ shares + 2**15) >> 16).astype(np.uint8)


def opaque(pixels: np.ndarray, background: str) -> np.ndarray:
    """RGBA on white or black; "auto" is white where most of what is seen is dark."""
    cover = pixels[..., 3:].astype(int)
    if background == "auto":
        dark = cover[luminance(pixels) < 128].sum()
        background = "white" if 2 * dark > cover.sum() else "black"
    paper = 255 if background == "white" else 0
    mixed = (pixels[..., :3] * cover + paper * (255 - cover) + 128) << 7
    return (((mixed >> 8) + mixed) >> 8 >> 7).astype(np.uint8)


def squeezed(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W, C) in a square, by means where it shrinks, else bilinearly: (C, S, S)."""
    height, width = pixels.shape[:2]
    return resized(pixels, size, (0, 0, width, height), by_means=width > size)


def middle(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle of (H, W, C), bilinearly: (C, S, S)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return resized(pixels, size, (left, top, left + side, top + side), by_means=False)


def resized(
    pixels: np.ndarray,
    size: int,
    box: tuple[float, float, float, float],
    by_means: bool,
) -> np.ndarray:
    """What lies in the box (left, top, right, bottom) of (H, W, C): bytes (C, S, S)."""
    height, width = pixels.shape[:2]
    across = shares(width, box[0], box[2], size, by_means)
    down = shares(height, box[1], box[3], size, by_means)
    is_tall = height > max(size, TALL[0] * width + TALL[1] * size)
    planes = []
    for plane in pixels.transpose(2, 0, 1):
        if is_tall:
            planes.append(rounded(rounded(down @ plane) @ across.T))
        else:
            planes.append(rounded(down @ rounded(plane @ across.T)))
    return np.stack(planes)


@lru_cache(maxsize=16)
def shares(
    length: int,
    start: float,
    stop: float,
    size: int,
    by_means: bool,
) -> np.ndarray:
    """What each of `length` pixels gives to each of `size`, in parts of 2^22."""
    scale = (stop - start) / size
    stretch = max(scale, 1.0)
    support = stretch * (0.5 if by_means else 1.0)
    centres = (start + (np.arange(size) + 0.5) * scale)[:, None]
    places = np.arange(length)
    first = (centres - support + 0.5).astype(int)
    last = (centres + support + 0.5).astype(int)
    distance = (places - centres + 0.5) * (1 / stretch)
    box, tent = (distance > -0.5) & (distance <= 0.5), 1 - np.abs(distance)
    weight = box.astype(float) if by_means else np.maximum(tent, 0)
    weight *= (places >= first) & (places < last)
    weight /= weight.cumsum(1)[:, -1:]
    return np.floor(weight * 2**22 + 0.5)


def rounded(sums: np.ndarray) -> np.ndarray:
    """Sums of bytes in parts of 2^22 as bytes."""
    return np.clip(np.floor(sums / 2**22 + 0.5), 0, 255).astype(np.uint8)


def with_margin(x: np.ndarray, size: int) -> np.ndarray:
    """Images (N, C, S, S) with dark pixels on all sides."""
    before = (size - x.shape[2]) // 2
    after = size - x.shape[2] - before
    return np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))


def enlarged(x: np.ndarray, size: int) -> np.ndarray:
    """Images (N, C, S, S) at another size, bilinearly."""
    native = x.shape[2]
    centres = (np.arange(size) + 0.5) * native / size - 0.5
    low = np.floor(np.clip(centres, 0, native - 1)).astype(int)
    high = np.minimum(low + 1, native - 1)
    share = (np.clip(centres, 0, native - 1) - low).astype(x.dtype)
    rows = x[:, :, low] * (1 - share)[:, None] + x[:, :, high] * share[:, None]
    return rows[..., low] * (1 - share) + rows[..., high] * share


def per_channel(values: tuple[float, ...]) -> np.ndarray:
    """Numbers that go with the channels of images (N, C, H, W)."""
    return np.array(values, np.float32)[:, None, None]
