"""HTML as a browser takes it: its tags and texts, the cells of its tables, and its images as arrays."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = ("img", "br")


class Page(HTMLParser):
    """What is in some HTML, every tag of which must be closed in order."""

    def __init__(self, text: str | None) -> None:
        super().__init__(convert_charrefs=True)
        assert isinstance(text, str)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.images: list[np.ndarray] = []
        self.alts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.attributes += given.items()
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "img":
            kind, _, content = given["src"].partition(",")
            assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
            self.images.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))))
            self.alts.append(given["alt"])
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def check_harmless(self) -> None:
        """No script, nothing from elsewhere, and no colour that is readable on one background alone."""
        assert not {"script", "link", "iframe", "style"} & set(self.tags)
        for name, value in self.attributes:
            assert not name.startswith("on")
            assert name not in ("href", "xlink:href")
            if name == "style":
                words = [part.split(":")[0].strip() for part in value.split(";")]
                assert "color" not in words
                assert all("rgba(" in part for part in value.split(";") if "background" in part)
