"""The images of written predictors are, byte for byte, what Pillow makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from gpucnn.data import Preprocess, read_image
from gpucnn.export.numpy_file import images as module
from gpucnn.export.onnx_pixels import tall_rule
from gpucnn.kernels.preprocess import Preparation, preprocess

TRIALS = 150


@pytest.fixture(autouse=True)
def _as_the_installed_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TALL", tall_rule() or (np.inf, 0))


def drawn(rng: np.random.Generator, channels: tuple[int, ...] = (1, 3)) -> tuple[np.ndarray, Image.Image, int]:
    """Bytes (H, W, C), the same for Pillow, and a size."""
    height, width, size = (int(one) for one in rng.integers(1, 70, 3))
    pixels = rng.integers(0, 256, (height, width, int(rng.choice(channels))), dtype=np.uint8)
    return pixels, Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), size


def planes(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def test_images_are_squeezed_as_pillow_does(rng: np.random.Generator) -> None:
    for _ in range(TRIALS):
        pixels, image, size = drawn(rng)
        method = Image.Resampling.BOX if image.width > size else Image.Resampling.BILINEAR
        np.testing.assert_array_equal(module.squeezed(pixels, size), planes(image.resize((size, size), method)))


def test_the_middle_is_cut_as_pillow_does(rng: np.random.Generator) -> None:
    for _ in range(TRIALS):
        pixels, image, size = drawn(rng)
        expected = planes(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(module.middle(pixels, size), expected)


@pytest.mark.parametrize("rule", [(np.inf, 0), (2, -1), (100, 0)])
def test_a_square_does_not_depend_on_the_order(
    rule: tuple[float, float], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = module.squeezed(pixels, 9)
    monkeypatch.setattr(module, "TALL", rule)
    np.testing.assert_array_equal(module.squeezed(pixels, 9), expected)


@pytest.mark.parametrize("background", ["auto", "white", "black"])
@pytest.mark.parametrize("fit", ["resize", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_all_kinds_are_read_as_gpucnn_does(
    channels: int, fit: str, background: str, rng: np.random.Generator
) -> None:
    own = Preprocess(channels, 7, 7, 255, fit)  # type: ignore[arg-type]
    find = module.middle if fit == "crop" else module.squeezed
    for image in (
        rng.integers(0, 256, (11, 6), dtype=np.uint8),
        rng.integers(0, 256, (5, 9, 3), dtype=np.uint8),
        rng.integers(0, 256, (3, 9, 20), dtype=np.uint8),
        rng.integers(0, 256, (1, 6, 6), dtype=np.uint8),
        rng.integers(0, 256, (12, 8, 4), dtype=np.uint8),
        rng.integers(0, 80, (12, 8, 4), dtype=np.uint8),
        rng.random((13, 9)) < 0.5,
    ):
        found = find(module.as_pixels(image, channels, background), 7)
        np.testing.assert_array_equal(found[None], read_image(image, own, background))


def test_files_are_read_as_gpucnn_does(tmp_path: Path, rng: np.random.Generator) -> None:
    """Those of one and of three rows, too, which as arrays might be channels."""
    arrays = {
        **{f"{kind}.npy": rng.random((9, 5, 3)).astype(kind) for kind in ("f2", "f4", "f8")},
        "whole.npy": rng.integers(0, 256, (9, 5)),
        "planes.npy": rng.integers(0, 256, (3, 9, 5), dtype=np.uint8),
        "ABOVE.NPY": rng.random((4, 9)) < 0.5,
    }
    for name, array in arrays.items():
        with (tmp_path / name).open("wb") as file:
            np.save(file, array)
    for height, width in ((1, 1), (1, 5), (3, 40), (3, 3), (40, 3)):
        for end in ((), (3,), (4,)):
            pixels = rng.integers(0, 256, (height, width, *end), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{height}x{width}x{end}.png")
        Image.fromarray(rng.integers(0, 2**16, (height, width), dtype=np.uint16)).save(
            tmp_path / f"{height}x{width}.png"
        )
    files = sorted(tmp_path.iterdir())
    assert len(files) == 26
    for channels in (1, 3):
        own = Preprocess(channels, 7, 7, 255, "resize")
        for file in files:
            found = module.squeezed(module.as_pixels(file, channels, "auto"), 7)
            np.testing.assert_array_equal(found[None], read_image(file, own), err_msg=file.name)
            np.testing.assert_array_equal(found, module.squeezed(module.as_pixels(str(file), channels, "auto"), 7))


@pytest.mark.parametrize("native", [1, 5, 8])
@pytest.mark.parametrize("size", [8, 13])
def test_raw_images_are_fitted_as_in_training(native: int, size: int, rng: np.random.Generator) -> None:
    raw = rng.integers(0, 256, (2, 3, native, native), dtype=np.uint8)
    images = raw / np.float32(255)
    for resizes, fitted in ((True, module.enlarged), (False, module.with_margin)):
        expected = preprocess(raw, None, None, Preparation(size, 255, resizes))[0]
        np.testing.assert_allclose(fitted(images, size), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"expected an image \(H, W\), \(H, W, C\) or \(C, H, W\), got \(4, 4, 2\); of several"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4, 1\)"),
        (np.zeros(4, np.uint8), r"got \(4,\)"),
        (np.full((4, 4), 1.5), r"expected numbers from 0 to 255, or floats from 0 to 1, got float64 from 1.5 to 1.5; give pixels as"),
        (np.full((4, 4), np.nan), r"got float64 from nan to nan"),
        (np.full((4, 4), -1), r"got int64 from -1 to -1"),
        (np.full((4, 4), 256, np.uint16), r"got uint16 from 256 to 256; .*, those of 16 bits as image / 65535"),
        (np.full((4, 4), 1j), r"expected an image of numbers, got complex128"),
        (None, r"got \(\)"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_told(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module.as_pixels(image, 3, "auto")


def test_single_images() -> None:
    one = np.zeros((4, 4, 3), np.uint8)
    assert [image.shape for image in module.single_images(one)] == [(4, 4, 3)]
    assert [image.shape for image in module.single_images(np.stack([one, one]))] == [(4, 4, 3)] * 2
    assert [image.shape for image in module.single_images([one, one[:2]])] == [(4, 4, 3), (2, 4, 3)]
    assert module.single_images([]) == []
    assert module.single_images("cat.png") == ["cat.png"]
