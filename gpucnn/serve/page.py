"""The page that tells how the service is asked: a template, filled, and the policy that lets nothing else in."""

import base64
import hashlib
import json
from pathlib import Path
from string import Template

from gpucnn import __version__
from gpucnn.backend import own_package
from gpucnn.html_fragments import escaped
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.serve.options import ServeOptions
from gpucnn.text import counted, names_text

CLASSES = 50
"""Names of classes on the page."""


class Page:
    """The page of one service, for any address that it is asked at. `headers` come with it."""

    def __init__(self, trained: TrainedRun, computes: str, options: ServeOptions, top: int) -> None:
        style, script = _own("page.css"), _own("page.js")
        preprocess, names = trained.preprocess, trained.class_names
        native, size = preprocess.native_size, preprocess.image_size
        colour = "grey" if preprocess.channels == 1 else "RGB"
        texts = {
            "model": trained.weights.file.parent.resolve().name,
            "count": counted(len(names), "class"),
            "computes": computes,
            "size": f"{native}x{native}, {colour}" + (f", enlarged to {size}x{size}" if size > native else ""),
            "classes": names_text(names, CLASSES),
            "example": json.dumps(names[0], ensure_ascii=False),
            "top": str(top),
            "queue": f"{options.queue:,}",
            "seconds": f"{options.read_seconds:g}",
            "bytes": f"{options.max_bytes:,}",
            "pixels": f"{options.max_pixels:,}",
            "version": __version__,
        }
        self._texts = {name: escaped(text) for name, text in texts.items()} | {"style": style, "script": script}
        self._template = Template(_own("page.html"))
        self.headers = {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": "default-src 'none'; connect-src 'self'; img-src blob: data:; "
            f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
        }

    def at(self, address: str) -> bytes:
        """The page, with the lines to type for the service at `address`."""
        return self._template.substitute(self._texts, address=escaped(address)).encode("utf-8", "backslashreplace")


def _own(name: str) -> str:
    """The text of a file beside this one."""
    return own_package.read(Path(__file__).with_name(name)).decode("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
