"""A page of a report, taken apart by the standard library's parser."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple


class Tag(NamedTuple):
    name: str
    attributes: dict[str, str]


class Row(NamedTuple):
    """A row of a table: its cells' texts, and the values of the <data> in them."""

    cells: list[str]
    values: list[float]


class Page(HTMLParser):
    """All tags, all text that is shown, the tables of each section, the data of the script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.text: dict[str, str] = {}
        self.rows: dict[str, list[Row]] = {}
        self.raw: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.values: dict[str, list[float]] = {}
        self._section, self._raw, self._cell = "", "", False
        self.content = path.read_text(encoding="utf-8")
        self.feed(self.content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(Tag(tag, attributes))
        if tag == "section":
            self._section = attributes["id"]
        if tag == "main":
            self._section = ""
        if tag in self.raw:
            self._raw = tag
            self.raw[tag].append("")
        if tag in ("dt", "dd", "span", "p", "li"):  # which stand apart
            self.text[self._section] = self.text.get(self._section, "") + " "
        if tag == "tr":
            self.rows.setdefault(self._section, []).append(Row([], []))
        if tag in ("td", "th"):
            self.rows[self._section][-1].cells.append("")
            self._cell = True
        if tag == "data" and attributes["value"]:
            value = float(attributes["value"])
            self.values.setdefault(self._section, []).append(value)
            if self._cell:
                self.rows[self._section][-1].values.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._raw:
            self._raw = ""
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.raw[self._raw][-1] += data
            return
        self.text[self._section] = self.text.get(self._section, "") + data
        if self._cell:
            self.rows[self._section][-1].cells[-1] += data

    @property
    def data(self) -> dict[str, Any]:
        """What the script is given."""
        found: dict[str, Any] = json.loads(self.raw["script"][0])
        return found

    def shown(self, section: str) -> str:
        """The text of a section, on a line; that above all sections has no name."""
        return " ".join(self.text[section].replace("\xa0", " ").split())
