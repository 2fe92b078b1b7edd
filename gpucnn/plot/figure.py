"""The one place that makes figures: their style and colours, the text that stands for them, and how they are saved and shown.

The colours are those that M. Okabe and K. Ito chose for all eyes ("Color Universal Design", 2008), some of them darker or
lighter, so that no two lines have the same grey.
"""

import functools
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from gpucnn.atomic_file import check_place, telling_of, write_atomically
from gpucnn.checks import as_path
from gpucnn.errors import ArgumentError, LibraryError
from gpucnn.html_fragments import data_uri, escaped
from gpucnn.text import printed
from gpucnn.text_table import shortened

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Given = ParamSpec("Given")
Result = TypeVar("Result")
StrPath: TypeAlias = str | os.PathLike[str]

ENDINGS = (".png", ".svg", ".pdf")
DPI = 144
"""Dots an inch in files and notebooks."""
SCREEN = 96
"""Those of a page."""
MARGIN = 0.08
"""Inches around what is drawn."""

TEXT, FAINT, NOTHING, PAPER = "#1A1A1A", "#767676", "#D4D4D4", "#FFFFFF"
LINES = (
    ("#0072B2", "o"),
    ("#E69F00", "s"),
    ("#1A1A1A", "^"),
    ("#009E73", "D"),
    ("#8C3A00", "v"),
    ("#8FD0F7", "P"),
)  # fmt: skip
"""Colours of lines, each of another grey, and their markers. After the last come the first again, with the next marker."""
RIGHT, WRONG = LINES[0][0], LINES[4][0]
SHARE = "Blues"
"""The map of colours for a share from 0 to 1, the darker the more."""
HEAT = "inferno"
"""That for heat: darker is less, in grey too."""
_SIGNED = ("#08306B", "#2F7EBC", "#E4E4E4", "#F28E2B", "#A34700")
"""Below 0 blue, which ends darker; 0 a grey that is no paper; above 0 orange."""

FONTS = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "WenQuanYi Zen Hei", "Noto Sans", "Segoe UI", "Noto Emoji", "Segoe UI Symbol", "Segoe UI Emoji",
)  # fmt: skip
"""Those that are there are used, the first that has the letter."""

NO_WIDTH = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Cannot be seen, and ends matplotlib's PDF files with an error."""

STYLE: dict[str, Any] = {
    "axes.edgecolor": FAINT, "axes.facecolor": PAPER, "axes.labelcolor": TEXT, "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.labelsize": 9,
    "figure.facecolor": PAPER, "figure.titlesize": 11, "font.size": 9, "grid.color": "#E3E3E3", "legend.fontsize": 8,
    "legend.frameon": False, "lines.linewidth": 1.6, "lines.markersize": 4.5, "savefig.facecolor": "auto",
    "svg.fonttype": "none", "svg.hashsalt": "gpucnn", "text.color": TEXT, "text.parse_math": False,
    "xtick.color": FAINT, "xtick.labelcolor": TEXT, "xtick.labelsize": 8,
    "ytick.color": FAINT, "ytick.labelcolor": TEXT, "ytick.labelsize": 8,
}  # fmt: skip
"""Upon matplotlib's own style, whatever the user's is. Texts are what they are: no mathematics between dollar signs."""


def in_style(draw: Callable[Given, Result]) -> Callable[Given, Result]:
    """`draw` with `STYLE` around it; matplotlib's settings are afterwards as before. LibraryError without matplotlib."""

    @functools.wraps(draw)
    def styled(*given: Given.args, **options: Given.kwargs) -> Result:
        with _style():
            return draw(*given, **options)

    return styled


@contextmanager
def _style() -> Iterator[None]:
    _figure_class()  # which says what to install
    import matplotlib

    there = set(_fonts())
    with matplotlib.rc_context():
        # The backend is no matter of style, and looking at its default would import pyplot.
        plain = {key: matplotlib.rcParamsDefault[key] for key in matplotlib.rcParamsDefault if "backend" not in key}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # settings that matplotlib gives up
            matplotlib.rcParams.update(plain)
            matplotlib.rcParams.update(STYLE | {"font.family": [name for name in FONTS if name in there]})
        yield


@functools.cache
def _fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    return tuple(fontManager.get_font_names())


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, with paper of its own: its text can be read on a dark page, too."""
    figure: Figure = _figure_class()(figsize=(width, height), layout="compressed", dpi=DPI)
    figure.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN)
    return figure


def set_title(figure: "Figure", *lines: str) -> None:
    """A title over the whole figure, at its left edge; lines that are empty are left out."""
    figure.suptitle("\n".join(filter(None, lines)), x=MARGIN / figure.get_figwidth(), ha="left")


def check_path(path: StrPath | None) -> Path | None:
    """`path` as one that a figure can be saved to, before it is drawn: ArgumentError for another ending than `ENDINGS`.

    RunError for a place where no file can be, LibraryError without matplotlib.
    """
    _figure_class()
    if path is None:
        return None
    found = as_path(path, "path")
    if found.suffix.lower() not in ENDINGS:
        *others, last = ENDINGS
        raise ArgumentError(f"{path}: no kind of picture that gpucnn writes; end it in {', '.join(others)} or {last}")
    check_place(found)
    return found


def finished(figure: "Figure", alt: str, path: StrPath | None = None) -> "Figure":
    """`figure` itself, with the text `alt` that says what can be seen, for those who cannot; saved to `path`, if it is given.

    The text is in the file's metadata, too, and beside the picture in notebooks. Raises ArgumentError for the ending of
    `path`, and RunError if it cannot be written.
    """
    found = check_path(path)
    figure.alt = printed(alt)
    if found is not None:
        with telling_of(found):
            write_atomically(found, saved(figure, found.suffix.lower()))
    return figure


def saved(figure: "Figure", ending: str = ".png", dpi: float = DPI) -> bytes:
    """A finished figure as the bytes of a file with this ending, its text in the metadata."""
    alt, file = getattr(figure, "alt", ""), io.BytesIO()
    metadata: dict[str, str | None] = {"Description": alt}
    if ending == ".svg":
        metadata |= {"Title": alt, "Date": None}  # readers read a title aloud
    elif ending == ".pdf":
        metadata = {"Title": alt, "CreationDate": None}
    with _style():
        figure.savefig(file, format=ending.removeprefix("."), dpi=dpi, metadata=metadata)
    return file.getvalue()


@functools.cache
def _figure_class() -> Any:
    """Matplotlib's Figure, which notebooks show without pyplot, too. LibraryError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LibraryError(f'pictures need matplotlib ({error}); pip install "gpucnn[plot]"') from None

    class GpucnnFigure(Figure):  # type: ignore[misc]
        """A figure with the text `alt` that stands for it."""

        alt = ""

        def draw(self, renderer: Any) -> None:
            with _any_letter():
                super().draw(renderer)

        def get_tightbbox(self, *given: Any, **options: Any) -> Any:
            with _any_letter():
                return super().get_tightbbox(*given, **options)

        def _repr_html_(self) -> str:
            width = round(self.get_figwidth() * SCREEN)
            return f'<img alt="{escaped(self.alt)}" style="width: {width}px; max-width: 100%" src="{data_uri("png", saved(self))}">'

    return GpucnnFigure


@contextmanager
def _any_letter() -> Iterator[None]:
    """Inside, a letter that no font has, or a script that is not set as it should be, is drawn as well as can be, in silence."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support")
        yield


def line_look(place: int) -> tuple[str, str]:
    """The colour and the marker of the line at a place."""
    colour, _ = LINES[place % len(LINES)]
    return colour, LINES[(place + place // len(LINES)) % len(LINES)][1]


@functools.cache
def signed_colours() -> "Colormap":
    """Colours of numbers of both signs: blue below 0, light grey, orange above; give limits that are symmetric about 0."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blue_orange", _SIGNED)


def own_text(text: str, most: int = 24) -> str:
    """A user's text, e.g. a class name, as figures have it: in a line of at most `most` columns, and nothing else changed."""
    return shortened(text.replace(NO_WIDTH, ""), most)
