"""What all figures have in common: colours that can be told apart, texts as they are, files and notebooks, and no traces."""

import builtins
import gc
import html
import itertools
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gpucnn import plot
from gpucnn.errors import ArgumentError, LibraryError, RunError
from gpucnn.plot.figure import (
    LINES,
    PAPER,
    SHARE,
    TEXT,
    _figure_class,
    finished,
    in_style,
    line_look,
    new_figure,
    own_text,
    signed_colours,
)
from gpucnn.training import ConfusionMatrix
from tests.data.test_class_names import REFUSED, TAKEN

matplotlib = pytest.importorskip("matplotlib", reason="figures need the extra plot")

HISTORY = [{"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.25}]


def lightness(colour: Any) -> float:
    """CIE 1976 L*, from 0 for black to 100 for white: what is left of a colour in grey."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 216 / 24389 else y * 24389 / 27


def test_lines_and_maps_can_be_told_apart_in_grey() -> None:
    for (one, _), (other, _) in itertools.combinations(LINES, 2):
        assert abs(lightness(one) - lightness(other)) > 9, (one, other)
    assert len({line_look(place) for place in range(30)}) == 30
    assert lightness(PAPER) - lightness(TEXT) > 80
    colours = signed_colours()
    assert lightness(colours(0.0)) + 10 < lightness(colours(1.0)) < lightness(colours(0.5)) - 30
    shares = [lightness(matplotlib.colormaps[SHARE](value)) for value in np.linspace(0, 1, 20)]
    assert shares == sorted(shares, reverse=True)


def test_the_user_s_style_is_neither_used_nor_changed() -> None:
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black", "axes.titlesize": 40}):
        before = dict(matplotlib.rcParams.copy())
        figure = plot.curves(HISTORY)
        assert dict(matplotlib.rcParams.copy()) == before
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == PAPER.lower(), "readable on a dark page"
    assert figure.axes[0].title.get_fontsize() == 10
    assert not figure.axes[0].title.get_usetex()


@in_style
def plot_texts(texts: list[str], path: Path) -> None:
    figure = new_figure(4, 4)
    for place, text in enumerate(texts):
        figure.text(0.1, place / len(texts), own_text(text))
    finished(figure, "; ".join(texts), path)


def test_texts_are_what_they_are(tmp_path: Path) -> None:
    names = ["$x_1$", r"\frac{1}", "two\nlines", "<b>&</b>"]
    for file in ("a.png", "a.pdf", "a.svg"):
        plot_texts([*names, *TAKEN, *REFUSED], tmp_path / file)  # a warning is an error here
    ElementTree.parse(tmp_path / "a.svg")  # which readers of XML take as it is
    few = ConfusionMatrix(names)
    few.update(np.array([1]), np.array([0]))
    figure = plot.confusion(few, tmp_path / "a.svg")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "$x_1$",
        r"\frac{1}",
        r"two\nlines",
        "<b>&</b>",
    ]
    written = (tmp_path / "a.svg").read_text()
    for name in ("$x_1$", r"\frac{1}", r"two\nlines", "&lt;b&gt;&amp;&lt;/b&gt;"):
        assert len(re.findall(rf">{re.escape(name)}</text>", written)) == 2, name


def test_the_text_that_stands_for_it_is_in_every_file(tmp_path: Path) -> None:
    alt = "Learning curves. history, 1 epoch: training loss from 2 to 2."
    for name in ("A.PNG", "a.svg", "b.svg", "a.pdf"):
        assert plot.curves(HISTORY, tmp_path / name).alt == alt
    with Image.open(tmp_path / "A.PNG") as image:
        assert image.text["Description"] == alt  # type: ignore[attr-defined]
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert f"<title>{alt}</title>" in (tmp_path / "a.svg").read_text()
    assert f"/Title ({alt})".encode() in (tmp_path / "a.pdf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.PNG", "a.pdf", "a.svg", "b.svg"]
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_notebooks_show_it_with_its_text_and_no_memory_is_left_behind() -> None:
    figure = plot.curves(HISTORY)
    figure.alt = '"quoted" <script>alert(1)</script>'
    with matplotlib.rc_context({"text.usetex": True}):
        shown = figure._repr_html_()
    found = re.fullmatch(
        r'<img alt="([^"<>]*)" style="width: 864px; max-width: 100%" src="data:image/png;base64,\S+">', shown
    )
    assert found
    assert html.unescape(found.group(1)) == figure.alt
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    for name, shown in (("a.jpg", "a.jpg"), ("a", "a"), (".png", ".png")):
        with pytest.raises(ArgumentError) as raised:
            plot.curves(HISTORY, tmp_path / name)
        assert (
            str(raised.value)
            == f"{tmp_path / shown}: no kind of picture that gpucnn writes; end it in .png, .svg or .pdf"
        )
    with pytest.raises(ArgumentError, match=r"^path must be a path, got 3$"):
        plot.curves(HISTORY, 3)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"nowhere.a.png: cannot be written \(no folder .*nowhere\); make it first$"):
        plot.curves(HISTORY, tmp_path / "nowhere" / "a.png")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(RunError, match=r"folder.svg: cannot be written \("):
        plot.curves(HISTORY, tmp_path / "folder.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return imported(name, *rest)

    _figure_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    for draw in (lambda: plot.curves(HISTORY), lambda: plot.confusion(ConfusionMatrix(["a"]))):
        with pytest.raises(LibraryError, match=r'^pictures need matplotlib \(.*\); pip install "gpucnn\[plot\]"$'):
            draw()


def test_the_page_has_every_figure() -> None:
    page = (Path(plot.__file__).parent / "README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)) == set(plot.__all__)


def test_pyplot_is_never_imported_and_matplotlib_late() -> None:
    code = (
        "import sys, gpucnn\n"
        "from gpucnn import plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"figure = plot.curves({HISTORY})\n"
        "figure._repr_html_()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
