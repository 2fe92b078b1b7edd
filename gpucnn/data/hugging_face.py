"""What Hugging Face's `datasets` tells of a table's columns: in the file itself, or in a README.md or JSON file beside it."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpucnn.data.class_folders import comparable
from gpucnn.data.timed_file import TimedFile

KEY = b"huggingface"
"""Of the features in the metadata of a schema."""

BESIDE = ("dataset_info.json", "dataset_infos.json")
LARGEST = 1 << 22
"""Bytes of a JSON file that is read beside a table, and of the beginning of a README.md."""


def features_in(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The features, by column, that the metadata of a schema has; empty if there are none."""
    with suppress(ValueError, RecursionError):
        return _features(json.loads((metadata or {}).get(KEY, b"{}")))
    return {}


def features_beside(folder: Path) -> dict[str, Any]:
    """The features, by column, that a file in `folder` has, or in the one that it is in; empty if there are none."""
    for place in (folder, folder.parent):
        for name in BESIDE:
            with suppress(OSError, ValueError, RecursionError), TimedFile(place / name) as file:
                if file.size <= LARGEST and (found := _features(json.loads(file.read()))):
                    return found
        with suppress(OSError), TimedFile(place / "README.md") as file:
            if found := _in_card(file.read(LARGEST).decode("utf-8", "replace")):
                return found
    return {}


def class_names_of(feature: Any) -> tuple[str, ...]:
    """What a ClassLabel calls its classes, those that are called alike with their number; empty for another feature."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        alike = Counter(map(comparable, names))
        return tuple(f"{name} ({number})" if alike[comparable(name)] > 1 else name for number, name in enumerate(names))
    return ()


def _features(written: Any) -> dict[str, Any]:
    """The features in what is written: of a table, or of the first of several configurations."""
    if not isinstance(written, dict):
        return {}
    for inner in (written.get("info"), written, *written.values()):
        if isinstance(inner, dict) and isinstance(features := inner.get("features"), dict):
            return features
    return {}


def _in_card(text: str) -> dict[str, Any]:
    """The ClassLabels of a data set's card, which begins with YAML, as `push_to_hub` writes it."""
    found: dict[str, Any] = {}
    head = re.match(r"---\n(.*?)\n---", text.replace("\r\n", "\n"), re.DOTALL)
    column, names = "", dict[int, str]()
    for line in (head[1] if head else "").splitlines():
        if match := re.fullmatch(r"\s*- name: (.+)", line):
            column, names = _plain(match[1]), {}
        elif match := re.fullmatch(r"\s+'?\"?(\d{1,6})'?\"?: (.+)", line):
            names[int(match[1])] = _plain(match[2])
            if sorted(names) == list(range(len(names))) and column:
                found.setdefault(column, {"_type": "ClassLabel"})["names"] = [
                    names[number] for number in range(len(names))
                ]
    return found


def _plain(written: str) -> str:
    """A YAML scalar without its quotes."""
    text = written.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]
    return text
