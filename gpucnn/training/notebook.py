"""Whether this runs in a notebook, whether anybody looks on, and where widgets are shown in it."""

import importlib.util
import sys
from collections.abc import Mapping
from typing import Any, Protocol


class Place(Protocol):
    """What is shown at one place of a cell's output, IPython's DisplayHandle."""

    def display(self, shown: Any) -> None:
        """Make the place, and show this there."""

    def update(self, shown: Any, *, raw: bool = ...) -> None:
        """Show this there, in place of what was; `raw`: a mapping from kinds of content to it."""


def is_unattended() -> bool:
    """Whether a notebook runs by itself, by nbconvert, nbclient, papermill or the like: everything that is printed is kept.

    They alone send cells with `allow_stdin` False, "some frontends do not support stdin requests", as nobody is there to answer.

    Source: "Messaging in Jupyter", Jupyter Client's documentation, section "Execute".
    """
    content = _request()
    return content is not None and content.get("allow_stdin") is False


def place_for_widgets() -> Place | None:
    """A place in the output of the notebook's cell; None where this is none, or it has no ipywidgets."""
    if _request() is None or importlib.util.find_spec("ipywidgets") is None:
        return None
    from IPython.display import DisplayHandle

    place: Place = DisplayHandle()
    return place


def _request() -> Mapping[str, Any] | None:
    """What the front end asked the kernel for: the code of a cell, and how to run it. None where there is no kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    get_parent = getattr(getattr(shell, "kernel", None), "get_parent", None)
    return None if get_parent is None else get_parent().get("content", {})
