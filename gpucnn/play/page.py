"""The page's files: what is written beside this module, and the networks that it shows, as a script."""

from pathlib import Path
from typing import Any

from gpucnn.backend import own_package
from gpucnn.play.browser_model import browser_model, json_for_script
from gpucnn.play.chapter_examples import chapter_examples
from gpucnn.play.sample_images import sample_images
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.trained_run import TrainedRun

FACE = "index.html"
SCRIPTS = (
    "image_input.js", "drawing.js", "image_file.js", "colours.js", "feature_maps.js", "explanation.js", "answers.js", "runner.js",
    "page.js",
)  # fmt: skip
"""Classic scripts, not modules: a page that was opened from disk may load no others."""
IN_THE_WORKER = ("network.js", "worker.js")

DRAWN: dict[str, dict[str, Any]] = {
    "digits": {"fill": 1.0, "pen": 0.16, "by_mass": False},
    **dict.fromkeys(("mnist", "emnist-mnist", "emnist-digits"), {"fill": 20 / 28, "pen": 0.13, "by_mass": True}),
    **dict.fromkeys(
        ("emnist-letters", "emnist-balanced", "emnist-byclass", "emnist-bymerge"),
        {"fill": 24 / 28, "pen": 0.11, "by_mass": False},
    ),
}
"""How the writing of a data set was brought to its size, see `rawOfStrokes` in drawing.js; other drawings are taken as pictures."""


def page_files(run: RunFolder, trained: TrainedRun) -> dict[str, bytes]:
    """All files of the page by their names: `FACE`, the style and the scripts; models.js has the networks.

    Raises GraphError for a model that the browser cannot compute.
    """
    samples, why_not = sample_images(run, trained)
    background = trained.shown().background
    shown = [
        {
            "model": browser_model(trained), "samples": samples, "why_no_samples": why_not, "background": background,
            "drawn": DRAWN.get(str(trained.config["data"])),
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
