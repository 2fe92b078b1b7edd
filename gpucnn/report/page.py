"""The page: a template, filled, with its style and script in it, and a policy that lets nothing else in."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpucnn.backend import own_package
from gpucnn.errors import LibraryError
from gpucnn.html_fragments import Html
from gpucnn.text import printed

SHARES = "".join(f".s{share}{{--share:{share}%}}" for share in range(101))
"""A class for every whole share, as the policy forbids styles of single elements."""


def check_libraries() -> None:
    """LibraryError without one of the libraries that a report needs, which names it and what to install."""
    for name in ("jinja2", "matplotlib"):
        try:
            __import__(name)
        except ImportError as error:
            raise LibraryError(f'a report needs {name} ({error}); pip install "gpucnn[plot]"') from None


def page(values: Mapping[str, Any]) -> bytes:
    """The page with these values. Text in them is shown as it is, whatever is in it; control characters as escapes."""
    check_libraries()
    import jinja2

    def shown(value: object) -> object:
        return printed(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"page.html": _own("page.html")}), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    style, script = f"{_own('page.css')}{SHARES}\n", _own("page.js")
    own = {"policy": policy(style, script), "style": Html(style), "script": Html(script)}
    text = environment.get_template("page.html").render({**values, **own})
    return text.encode("utf-8", "backslashreplace")


def _own(name: str) -> str:
    """The text of a file beside this one."""
    return own_package.read(Path(__file__).with_name(name)).decode("utf-8")


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and script, and nothing else, from here or elsewhere."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; "
        f"form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
