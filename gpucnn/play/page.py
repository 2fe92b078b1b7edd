"""The page's files: what is written beside this module, and the networks that it shows, as a script."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpucnn.backend import own_package
from gpucnn.play.browser_model import browser_model, json_for_script
from gpucnn.play.chapter_examples import chapter_examples
from gpucnn.runs.trained_run import TrainedRun

FACE = "index.html"
SCRIPTS = (
    "image_input.js", "drawing.js", "image_file.js", "colours.js", "feature_maps.js", "explanation.js", "answers.js", "runner.js",
    "page.js",
)  # fmt: skip
"""Classic scripts, not modules: a page that was opened from disk may load no others."""
IN_THE_WORKER = ("network.js", "image_input.js", "worker.js")


class Writing(NamedTuple):
    """How the writing of a data set was brought to its size, see `rawOfStrokes` in drawing.js."""

    fill: float
    """The share of the image that the longer side fills."""
    pen: float
    """How wide the pen is, as a share of that."""
    by_mass: bool = False
    """Whether the centre of mass is in the middle, and not that of the box around the strokes."""


DRAWN = {
    "digits": Writing(fill=1.0, pen=0.16),
    **dict.fromkeys(("mnist", "emnist-mnist", "emnist-digits"), Writing(fill=20 / 28, pen=0.13, by_mass=True)),
    **dict.fromkeys(
        ("emnist-letters", "emnist-balanced", "emnist-byclass", "emnist-bymerge"), Writing(fill=24 / 28, pen=0.11)
    ),
}
"""The data sets of handwriting. Drawings for others are taken as pictures."""


def page_files(trained: TrainedRun, samples: Sequence[dict[str, Any]] = ()) -> dict[str, bytes]:
    """All files of the page by their names: `FACE`, the style and the scripts; models.js has the networks.

    - `samples`: images to choose from, see `sample_images`.

    Raises GraphError for a model that the browser cannot compute.
    """
    writing = DRAWN.get(str(trained.config["data"]))
    background = trained.shown().background
    shown = [
        {
            "model": browser_model(trained), "samples": list(samples), "background": background,
            "drawn": None if writing is None else writing._asdict(),
        },
        *({"model": one.model(), "image": one.image.ravel().tolist(), "about": one.about} for one in chapter_examples()),
    ]  # fmt: skip
    worker = "\n".join(_text(name) for name in IN_THE_WORKER)
    return {
        FACE: _text("page.html").encode(),
        "page.css": _text("page.css").encode(),
        **{name: _text(name).encode() for name in SCRIPTS},
        "worker_source.js": f'"use strict";\nconst WORKER_SOURCE = {json_for_script(worker)};\n'.encode(),
        "models.js": f'"use strict";\nconst MODELS = {json_for_script(shown)};\n'.encode(),
    }


def _text(name: str) -> str:
    return own_package.read(Path(__file__).with_name(name)).decode("utf-8")
