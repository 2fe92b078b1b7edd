"""What is behind the transparent parts of an image: white where the ink is dark, black where it is light, or what is asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data import ImageFolder, Preprocess, read_image
from gpucnn.data.image_file import has_dark_ink, is_dark_on_light
from gpucnn.errors import ArgumentError, ConfigError
from gpucnn.training import RunConfig

PREPROCESS = Preprocess(1, 8, 8, 255, "pad")
STROKE = np.zeros((8, 8), np.uint8)
STROKE[1:7, 3:5] = 255


def drawn(path: Path, ink: int, mode: str = "LA") -> Path:
    """A stroke of this brightness on nothing."""
    image = Image.merge("LA", [Image.new("L", (8, 8), ink), Image.fromarray(STROKE)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize(("ink", "behind"), [(0, 255), (100, 255), (127, 255), (128, 0), (255, 0)])
def test_the_background_is_far_from_the_ink(ink: int, behind: int, mode: str, tmp_path: Path) -> None:
    raw = read_image(drawn(tmp_path / "a.png", ink, mode), PREPROCESS)[0, 0]
    np.testing.assert_array_equal(raw, np.where(STROKE, ink, behind))


@pytest.mark.parametrize(("background", "behind"), [("white", 255), ("black", 0)])
@pytest.mark.parametrize("ink", [0, 255])
def test_a_background_that_is_asked_for(background: str, behind: int, ink: int, tmp_path: Path) -> None:
    path = drawn(tmp_path / "a.png", ink)
    np.testing.assert_array_equal(read_image(path, PREPROCESS, background)[0, 0], np.where(STROKE, ink, behind))


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 255, 255, 10, 10, 10])
    image.paste(1, (3, 1, 5, 7))
    image.save(tmp_path / "a.gif", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif", PREPROCESS)[0, 0], np.where(STROKE, 10, 255))
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif", PREPROCESS, "black")[0, 0], np.where(STROKE, 10, 0))


@pytest.mark.parametrize("background", ["auto", "white", "black"])
def test_images_without_transparency_are_the_same_to_the_bit(background: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    pixels[:, :, 3] = 255
    Image.fromarray(pixels[:, :, :3]).save(tmp_path / "opaque.png")
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    colour = Preprocess(3, 8, 8, 255, "pad")
    for name in ("opaque.png", "alpha.png"):
        found = read_image(tmp_path / name, colour, background)
        np.testing.assert_array_equal(found[0], pixels[:, :, :3].transpose(2, 0, 1))


def test_what_is_hardly_to_be_seen_hardly_counts() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:3, :, 3] = 40  # twelve pixels of black, thin
    pixels[3] = 255  # four of white, solid
    assert not has_dark_ink(Image.fromarray(pixels))
    pixels[:3, :, 3] = 90
    assert has_dark_ink(Image.fromarray(pixels))
    assert not has_dark_ink(Image.new("RGBA", (3, 3), (0, 0, 0, 0))), "nothing is to be seen"


def test_a_folder_has_a_background(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        drawn(tmp_path / name, 0)
    for background, behind in (("auto", 255), ("white", 255), ("black", 0)):
        images, _ = ImageFolder(tmp_path, 8, "grey", background=background)[[0]]
        np.testing.assert_array_equal(images[0, 0] * 255, np.where(STROKE, 0, behind))
        part = data.load("folder", tmp_path, 8, "grey", background).train
        np.testing.assert_array_equal(part[[0]][0], images)
    message = 'background must be "auto", "white" or "black", got \'grey\''
    for wrong in (
        lambda: ImageFolder(tmp_path, 8, background="grey"),
        lambda: read_image(tmp_path / "a" / "1.png", PREPROCESS, "grey"),
    ):
        with pytest.raises(ArgumentError, match=message):
            wrong()
    for odd in (None, 3, np.array(["white", "black"]), float("nan"), ["white"]):
        with pytest.raises(ArgumentError, match='background must be "auto", "white" or "black", got '):
            data.load("digits", background=odd)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match='digits: background is \'white\', but only the data set "folder" has transparent'):  # fmt: skip
        data.load("digits", background="white")
    with pytest.raises(ConfigError, match="background is white, but no image of mnist is transparent; leave it out, or choose data folder"):  # fmt: skip
        RunConfig(data="mnist", background="white")


def test_a_light_frame_is_no_paper() -> None:
    raw = np.zeros((1, 1, 8, 8), np.uint8)
    raw[..., [0, -1], :] = raw[..., [0, -1]] = 200
    assert not is_dark_on_light(raw)


@pytest.mark.parametrize("paper", [90, 150, 255])
def test_ink_on_paper_is_told_from_chalk_on_a_board(paper: int) -> None:
    images = data.load("digits").test
    assert isinstance(images, data.ArrayDataset)
    for raw in images.images[:50, None]:
        assert not is_dark_on_light(raw)
        shaded = np.minimum((16 - raw.astype(int)) * 16, paper).astype(np.uint8)
        assert is_dark_on_light(shaded)
        assert not is_dark_on_light(np.full_like(raw, paper)), "an empty page says nothing"
        assert is_dark_on_light(np.repeat(shaded, 3, axis=1))
