"""Fragments of HTML, read back by Python's parser and Pillow."""

import html
import sys

import numpy as np
import pytest

from gpucnn.errors import LibraryError, ShapeError
from gpucnn.html_fragments import (
    Html,
    Shaded,
    escaped,
    html_image,
    html_sheet,
    html_table,
    png_uri,
    sparkline,
    text_instead,
    titled,
)
from tests.html_page import Page

HOSTILE = ["<script>alert(1)</script>", "\"'><b onload=x>", "a&amp;b", "line\nbreak \x1b[31m", "</td></table>"]
"""Names of classes and files that would be tags, end an attribute, or do something to a terminal."""


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_shown_as_they_are(text: str) -> None:
    shown = text.replace("\n", "\\n").replace("\x1b", "\\x1b")
    whole = titled(
        text, html_table([text], [[text], [Shaded(text, 0.5)]], "l"), html_sheet([np.zeros((2, 2))], [text], 32)
    )
    page = Page(whole)
    page.check_harmless()
    assert page.rows == [[shown]] * 3
    assert page.alts == [shown]
    assert [part for part in page.texts if part.strip()] == [shown] * 5
    assert sorted(set(page.tags)) == ["div", "figcaption", "figure", "img", "table", "tbody", "td", "th", "thead", "tr"]


def test_every_printed_character_is_escaped_as_python_does() -> None:
    text = "".join(map(chr, [*range(32, 127), *range(0x2190, 0x2200)]))
    assert escaped(text) == html.escape(text)


def test_what_is_html_already_stays_it() -> None:
    part = escaped("<")
    assert (part, type(part), escaped(part)) == ("&lt;", Html, "&lt;")
    assert part.__html__() is part
    assert escaped(12) == "12"


def test_a_table_has_its_cells_and_their_sides() -> None:
    table = html_table(("name", "count"), [("a", "1"), (Shaded("b", 2.0), Shaded("", 0))], "lr")
    assert Page(table).rows == [["name", "count"], ["a", "1"], ["b", ""]]
    styles = [value for name, value in Page(table).attributes if name == "style"][1:]
    assert [style.split(";")[0] for style in styles] == ["text-align: left", "text-align: right"] * 3
    assert ["background" in style for style in styles] == [False] * 4 + [True, False]
    assert "0.550)" in styles[4], "no share is fuller than that of 1"
    with pytest.raises(ValueError, match="zip"):
        html_table(("name", "count"), [("a",)], "lr")


RAMP = np.linspace(0, 1, 12).reshape(3, 4)


@pytest.mark.parametrize(
    ("image", "pixels"),
    [
        (np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(6).reshape(2, 3)),
        (np.arange(6, dtype=np.uint8).reshape(1, 2, 3), np.arange(6).reshape(2, 3)),
        (np.arange(18, dtype=np.uint8).reshape(3, 2, 3), np.arange(18).reshape(3, 2, 3).transpose(1, 2, 0)),
        (RAMP, [[0, 23, 46, 70], [93, 116, 139, 162], [185, 209, 232, 255]]),
        (RAMP.astype(np.float32), [[0, 23, 46, 70], [93, 116, 139, 162], [185, 209, 232, 255]]),
        (np.array([[-1.0, np.nan, 2.0, np.inf, -np.inf]]), [[0, 0, 255, 255, 0]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.arange(8, dtype=np.uint8).reshape(2, 2, 2), [[0, 1, 4, 5], [2, 3, 6, 7]]),
        (np.arange(16, dtype=np.uint8).reshape(4, 2, 2), [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]),
        (np.arange(8, dtype=np.uint8).reshape(2, 4)[:, ::-2], [[3, 1], [7, 5]]),
    ],
)  # fmt: skip
def test_images_have_their_pixels(image: np.ndarray, pixels: object) -> None:
    page = Page(html_image(image, "what", 10))
    np.testing.assert_array_equal(page.images[0], pixels)


def test_small_images_are_enlarged_in_whole_pixels() -> None:
    shown = dict(Page(html_image(np.zeros((8, 16)), "wide", 40)).attributes)
    assert (shown["width"], shown["height"]) == ("80", "40")
    assert "pixelated" in shown["style"]
    assert "pixelated" not in html_image(np.zeros((50, 50)), "large", 40)


@pytest.mark.parametrize("shape", [(), (3,), (1, 3, 2, 2), (0, 3), (3, 0, 2)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"^expected an image \(H, W\) or \(C, H, W\), got \("):
        png_uri(np.zeros(shape))


def test_without_pillow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(LibraryError, match=r"^images need Pillow \(.*\); pip install pillow$"):
        png_uri(np.zeros((2, 2)))


def test_a_sheet_needs_a_caption_for_each_image() -> None:
    with pytest.raises(ValueError, match="zip"):
        html_sheet([np.zeros((2, 2))], ["a", "b"], 32)
    assert Page(html_sheet([], [], 32)).tags == ["div"]


def test_a_sheet_of_large_images_has_small_ones() -> None:
    """Two pixels for each that is shown, little of noise, and the same colours; small images keep each pixel."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (16, 3, 300, 400), np.uint8)
    photos[:, 0, :, :200] = 255
    page = Page(html := html_sheet(list(photos), ["a"] * 16, 96))
    assert len(html) < 700_000
    assert [image.shape for image in page.images] == [(144, 192, 3)] * 16
    assert page.images[0][:, :90, 0].mean() > 245
    assert abs(page.images[0][:, 100:, 1].mean() - 127.5) < 5
    sizes = [
        {name: value for name, value in Page(html_sheet([image], ["a"], 96)).attributes if name in ("width", "height")}
        for image in (photos[0], np.zeros((8, 16)), np.zeros((1, 1000)), np.zeros((200, 100)))
    ]
    assert [(one["width"], one["height"]) for one in sizes] == [("96", "72"), ("96", "48"), ("96", "1"), ("48", "96")]
    small = rng.integers(0, 256, (3, 12, 16), np.uint8)
    np.testing.assert_array_equal(Page(html_sheet([small], ["a"], 96)).images[0], small.transpose(1, 2, 0))


def test_a_sparkline_has_its_numbers_from_left_to_right() -> None:
    page = Page(sparkline([4.0, 0.0, float("nan"), 2.0], 104, 44))
    points = [tuple(map(float, point.split(","))) for point in dict(page.attributes)["points"].split()]
    assert points == [(2, 2), (35.3, 42), (102, 22)], "high is up, which is small"
    assert "".join(page.texts) == "from 4 to 2, lowest 0, highest 4"
    assert [sparkline(values) for values in ([], [1.0], [1.0, float("inf")])] == [""] * 3
    assert dict(Page(sparkline([3.0, 3.0])).attributes)["points"] == "2.0,22.0 94.0,22.0", (
        "what stays the same is level"
    )


def test_what_fails_shows_the_text_and_lets_through_who_interrupts() -> None:
    def broken() -> Html:
        raise OSError("gone")

    def interrupted() -> Html:
        raise KeyboardInterrupt

    assert text_instead(broken)() is None
    with pytest.raises(KeyboardInterrupt):
        text_instead(interrupted)()
