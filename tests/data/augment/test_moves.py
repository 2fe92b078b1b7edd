"""Shift, flip, cutout and affine maps against loops over single pixels."""

import math

import numpy as np
import pytest

from gpucnn.backend import generator
from gpucnn.data import AlternatingFlip, Compose, Cutout, RandomAffine, RandomFlip, RandomShift
from gpucnn.errors import ArgumentError
from gpucnn.runs.choices import AUGMENTATIONS
from tests.data.augment.transforms import images_of

SIZES = [(9, 7), (4, 10), (1, 5)]


def drawn(purpose: str, seed: int, epoch: int, index: int, count: int) -> list[float]:
    """One sample's numbers, from a generator of its own."""
    return generator(seed, purpose, epoch, index).random(count).tolist()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("fill", ["zero", "reflect"])
@pytest.mark.parametrize("limit", [0, 2, 13])
def test_shift(height: int, width: int, fill: str, limit: int) -> None:
    images = images_of(12, 2, height, width)
    moved = RandomShift(limit, fill)(images, np.arange(12) + 50, 3, 2)
    reach = "constant" if fill == "zero" else "reflect"
    for sample in range(12):
        down, right = (int(draw * (2 * limit + 1)) for draw in drawn("RandomShift", 3, 2, sample + 50, 2))
        padded = np.pad(images[sample], ((0, 0), (limit, limit), (limit, limit)), reach)
        expected = padded[:, down : down + height, right : right + width]
        np.testing.assert_array_equal(moved[sample], expected)


@pytest.mark.parametrize(("height", "width"), [*SIZES, (1, 1), (50, 25)])
@pytest.mark.parametrize("fill", ["zero", "reflect"])
@pytest.mark.parametrize("share", [0.0, 0.12, 1.0])
def test_shift_by_a_share(height: int, width: int, fill: str, share: float) -> None:
    images = images_of(12, 2, height, width)
    moved = RandomShift(share, fill)(images, np.arange(12), 3, 2)
    most = (round(share * height), round(share * width))
    reach = "constant" if fill == "zero" else "reflect"
    for sample in range(12):
        draws = drawn("RandomShift", 3, 2, sample, 2)
        down, right = (int(draw * (2 * limit + 1)) for draw, limit in zip(draws, most, strict=True))
        padded = np.pad(images[sample], ((0, 0), (most[0], most[0]), (most[1], most[1])), reach)
        np.testing.assert_array_equal(moved[sample], padded[:, down : down + height, right : right + width])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (1.5, r"max_shift, as a float, is a share of the image, from 0 to 1 \(100%\), got 1.5; give pixels as an int"),
        (math.nan, "max_shift, as a float, .* got nan"),
        (-0.1, "max_shift, as a float, .* got -0.1"),
        (True, "max_shift must be an int >= 0 or a float from 0 to 1, got True"),
        ("12%", "max_shift must be an int >= 0 or a float from 0 to 1, got '12%'"),
    ],
)
def test_shift_refuses(wrong: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandomShift(wrong)  # type: ignore[arg-type]


def test_shifts_are_all_as_probable() -> None:
    image = np.zeros((9000, 1, 7, 7), np.float32)
    image[:, 0, 3, 3] = 1
    counts = RandomShift(1)(image, np.arange(9000), 0, 0).sum((0, 1))
    assert counts.sum() == 9000
    np.testing.assert_allclose(counts[2:5, 2:5], 1000, atol=150)


@pytest.mark.parametrize("fill", ["edge", None, 0])
def test_a_fill_that_is_none(fill: object) -> None:
    for make in (lambda: RandomShift(2, fill), lambda: RandomAffine(2, fill=fill)):  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match='fill must be "zero" or "reflect", got'):
            make()


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip(p: float) -> None:
    images = images_of(30)
    flipped = RandomFlip(p)(images, np.arange(30), 3, 2)
    for sample in range(30):
        mirrored = drawn("RandomFlip", 3, 2, sample, 1)[0] < p
        np.testing.assert_array_equal(flipped[sample], images[sample, :, :, ::-1] if mirrored else images[sample])


@pytest.mark.parametrize("epoch", range(4))
def test_alternating_flip(epoch: int) -> None:
    images = images_of(30)
    flipped = AlternatingFlip()(images, np.arange(30), 3, epoch)
    for sample in range(30):
        mirrored = (drawn("AlternatingFlip", 3, 0, sample, 1)[0] < 0.5) ^ (epoch % 2 == 1)
        np.testing.assert_array_equal(flipped[sample], images[sample, :, :, ::-1] if mirrored else images[sample])


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [1, 2, 3, 6, 30])
def test_cutout(height: int, width: int, size: int) -> None:
    images = images_of(12, 2, height, width)
    cut = Cutout(size)(images, np.arange(12), 3, 2)
    for sample in range(12):
        draws = drawn("Cutout", 3, 2, sample, 2)
        top, left = int(draws[0] * height) - size // 2, int(draws[1] * width) - size // 2
        for row in range(height):
            for column in range(width):
                inside = top <= row < top + size and left <= column < left + size
                expected = 0 if inside else images[sample, :, row, column]
                np.testing.assert_array_equal(cut[sample, :, row, column], expected)


def test_cutout_blanks_every_pixel_at_times_and_a_whole_square_if_it_is_inside() -> None:
    cut = Cutout(3)(np.ones((2000, 1, 8, 8), np.float32), np.arange(2000), 0, 0)
    blank = (cut == 0).sum((1, 2, 3))
    assert set(blank.tolist()) == {4, 6, 9}
    share = (cut == 0).mean(0)[0]
    np.testing.assert_allclose(share[1:-1, 1:-1], 9 / 64, atol=0.03)
    np.testing.assert_allclose(share[0, 0], 4 / 64, atol=0.02)


def test_cutout_refuses() -> None:
    for wrong in (0, -1, 2.0, "3", True):
        with pytest.raises(ArgumentError, match="size must be an int >= 1, got"):
            Cutout(wrong)  # type: ignore[arg-type]


def test_two_of_one_class_draw_apart() -> None:
    images, indices = np.ones((40, 1, 20, 20), np.float32), np.arange(40)
    one, two, three = (
        (Compose(*[Cutout(4)] * count)(images, indices, 1, 0) == 0).sum((1, 2, 3)) for count in (1, 2, 3)
    )
    assert (two > one).mean() > 0.8
    assert (three > two).mean() > 0.6
    np.testing.assert_array_equal(Compose(Cutout(4))(images, indices, 1, 0), Cutout(4)(images, indices, 1, 0))


def affine_pixel(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """The value of an image (C, H, W) at a fraction of a place: bilinear, 0 outside."""
    _, height, width = image.shape
    value = np.zeros(len(image))
    for down in (math.floor(row), math.floor(row) + 1):
        for right in (math.floor(column), math.floor(column) + 1):
            if 0 <= down < height and 0 <= right < width:
                value += image[:, down, right] * (1 - abs(row - down)) * (1 - abs(column - right))
    return value


@pytest.mark.parametrize(("height", "width"), [(9, 7), (4, 10), (1, 5), (70, 65)])
@pytest.mark.parametrize(
    "settings",
    [
        {"degrees": 40},
        {"degrees": (100, 200)},
        {"degrees": 0, "translate": 0.3},
        {"degrees": 0, "translate": 1},
        {"degrees": 0, "scale": (0.2, 3)},
        {"degrees": 0, "shear": 30},
        {"degrees": 0, "shear": (20, 80)},
        {"degrees": 180, "translate": 0.2, "scale": (0.5, 1.5), "shear": 20},
        {"degrees": 50, "translate": 1, "scale": (0.2, 1.5), "shear": 30, "fill": "reflect"},
    ],
    ids=str,
)
def test_affine(height: int, width: int, settings: dict[str, object]) -> None:
    """Where each pixel comes from, by solving with the map that the docstring tells of."""
    count = 6 if height < 20 else 2
    images = images_of(count, 2, height, width)
    changed = RandomAffine(**settings)(images, np.arange(count) + 9, 3, 2)  # type: ignore[arg-type]
    ranges = [settings[name] for name in ("degrees",)] + [settings.get("shear", 0)]
    (least_turn, most_turn), (least_shear, most_shear) = (
        value if isinstance(value, tuple) else (-value, value)
        for value in ranges  # type: ignore[operator]
    )
    least_scale, most_scale = settings.get("scale", (1, 1))  # type: ignore[misc]
    share = settings.get("translate", 0)
    for sample in range(count):
        turn, down, right, scale, shear = drawn("RandomAffine", 3, 2, sample + 9, 5)
        angle = math.radians(least_turn + turn * (most_turn - least_turn))
        factor = least_scale + scale * (most_scale - least_scale)
        slant = math.tan(math.radians(least_shear + shear * (most_shear - least_shear)))
        move = np.array([(2 * right - 1) * share * width, (2 * down - 1) * share * height])  # (x, y)
        # x to the right, y down: a turn counter-clockwise as one sees it.
        rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        forward = factor * rotation @ np.array([[1, slant], [0, 1]])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        expected = np.zeros((2, height, width))
        beyond = 400 if settings.get("fill") == "reflect" else 0
        source = (
            np.pad(images[sample], ((0, 0), (beyond, beyond), (beyond, beyond)), "reflect")
            if beyond
            else images[sample]
        )
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height))).reshape(2, -1)
        columns, rows = np.linalg.solve(forward, places - (centre + move)[:, None]) + (centre + beyond)[:, None]
        for (column, row), x, y in zip(places.T, columns, rows, strict=True):
            expected[:, row, column] = affine_pixel(source, y, x)
        np.testing.assert_allclose(changed[sample], expected, atol=2e-6)


def test_affine_maps_that_are_exact() -> None:
    images, indices = images_of(10, 3, 8, 8), np.arange(10)

    def changed(*settings: object) -> np.ndarray:
        return RandomAffine(*settings)(images, indices, 0, 0)  # type: ignore[arg-type]

    np.testing.assert_array_equal(changed(0), images)
    for turns in (-1, 1, 2, 3, 4):
        np.testing.assert_array_equal(changed((90 * turns, 90 * turns)), np.rot90(images, turns, (2, 3)))
    odd = images_of(10, 1, 7, 7)
    np.testing.assert_array_equal(RandomAffine((90, 90))(odd, indices, 0, 0), np.rot90(odd, 1, (2, 3)))
    doubled = RandomAffine(0, 0, (2, 2))(odd, indices, 0, 0)
    np.testing.assert_array_equal(doubled[:, :, 1::2, 1::2], odd[:, :, 2:5, 2:5])
    sheared = RandomAffine(0, 0, (1, 1), (45, 45))(odd, indices, 0, 0)
    for row in range(7):
        padded = np.pad(odd[:, 0, row], ((0, 0), (3, 3)))
        np.testing.assert_allclose(sheared[:, 0, row], padded[:, 6 - row : 13 - row], atol=1e-6)


def test_a_rotation_is_an_affine_change_by_degrees_alone() -> None:
    images, indices = images_of(8), np.arange(8)
    for written, same in (
        ("rotate:15", RandomAffine(15)),
        ("rotate:-5/90,fill=reflect", RandomAffine((-5, 90), fill="reflect")),
    ):
        np.testing.assert_array_equal(AUGMENTATIONS.make(written)(images, indices, 1, 2), same(images, indices, 1, 2))


def test_what_is_reflected_has_no_black() -> None:
    images = images_of(200, 1, 15, 11)
    changed = RandomAffine(180, 1.0, (0.01, 3), 80, "reflect")(images, np.arange(200), 0, 0)
    assert 0.05 <= changed.min() <= changed.max() <= 1
    np.testing.assert_allclose(
        RandomAffine(180, 1.0, fill="reflect")(images[:, :, :1, :1], np.arange(200), 0, 0),
        images[:, :, :1, :1],
        rtol=1e-6,
    )


def test_affine_draws_fill_their_ranges() -> None:
    point = np.zeros((3000, 1, 41, 41), np.float32)
    point[:, 0, 20, 30] = 1
    turned = RandomAffine(30)(point, np.arange(3000), 0, 0)
    rows, columns = np.arange(41)[:, None], np.arange(41)
    mass = turned.sum((1, 2, 3))
    angles = np.degrees(
        np.arctan2(
            -((turned[:, 0] * (rows - 20)).sum((1, 2)) / mass), (turned[:, 0] * (columns - 20)).sum((1, 2)) / mass
        )
    )
    assert -33 < angles.min() < -29
    assert 29 < angles.max() < 33
    assert abs(angles.mean()) < 1.5
    assert 16 < angles.std() < 18.5, "60 / sqrt(12) = 17.3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"degrees": -1}, "degrees must be a number >= 0 or a pair of rising numbers, got -1"),
        ({"degrees": (3, 1)}, r"degrees must be .* got \(3, 1\)"),
        ({"degrees": (1, 2, 3)}, r"degrees must be .* got \(1, 2, 3\)"),
        ({"degrees": math.nan}, "degrees must be .* got nan"),
        ({"degrees": math.inf}, "degrees must be .* got inf"),
        ({"degrees": "10"}, "degrees must be .* got '10'"),
        ({"degrees": True}, "degrees must be .* got True"),
        ({"degrees": 0, "translate": 1.5}, "translate must be at most 1, the whole of the image, got 1.5"),
        ({"degrees": 0, "translate": -0.1}, "translate must be a number >= 0, got -0.1"),
        ({"degrees": 0, "scale": (0, 1)}, r"scale must be a pair of rising factors from 0.01 to 100, got \(0, 1\)"),
        ({"degrees": 0, "scale": (1, 101)}, "scale must be a pair"),
        ({"degrees": 0, "scale": (2, 1)}, "scale must be a pair"),
        ({"degrees": 0, "scale": 1.2}, "scale must be a pair"),
        ({"degrees": 0, "shear": 90}, r"shear must be .* within \(-90, 90\), got 90"),
        ({"degrees": 0, "shear": (-95, 0)}, r"shear must be .* got \(-95, 0\)"),
    ],
)
def test_affine_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        RandomAffine(**settings)  # type: ignore[arg-type]
