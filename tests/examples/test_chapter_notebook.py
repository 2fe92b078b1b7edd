"""The chapter as a notebook: it runs, and what is kept in the file is what it gives."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.html_page import Page
from tests.notebooks import CHAPTER, METADATA, printed, run

MOST_BYTES = 500_000
MEASURED = re.compile(r"\d+\.\d+|\d+(?= of 360 images)")
"""Numbers that another processor may give otherwise; the notebook asserts what they must be at least."""


def shown(cell: Any) -> list[Any]:
    """What a cell printed, and the kinds and texts of what it shows, without what was measured."""
    results = [
        (sorted(output.data), MEASURED.sub("#", output.data["text/plain"]))
        for output in cell.outputs
        if output.output_type in ("execute_result", "display_data")
    ]
    return [printed(cell), printed(cell, "stderr"), *results]


@pytest.mark.sample(0)
def test_it_gives_what_is_kept_in_it(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, of the extra dev")
    pytest.importorskip("matplotlib", reason="chapter.ipynb needs the extra plot")
    kept, notebook = (nbformat.read(CHAPTER, 4) for _ in range(2))
    run(notebook, tmp_path)  # raises what a cell raises, such as the AssertionErrors of its numbers
    for old, new in zip(kept.cells, notebook.cells, strict=True):
        if old.cell_type == "code":
            assert shown(old) == shown(new), f"{old.source}: python -m tests.notebooks keeps what it gives now"
    assert list(tmp_path.iterdir()) == []


def test_the_chapter_s_numbers_are_in_it() -> None:
    cells = json.loads(CHAPTER.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    text = "".join("".join(output.get("text", "")) for output in outputs)
    for promised in (
        "78,400 weights\n", "78,500 parameters\n", "150,528,000 weights\n", "288 weights\n", "[[6. 6.]\n [6. 6.]]\n",
        "3,211,264 numbers\n", "802,816\n", "1,352 inputs", "output (1, 16, 7, 7)\n",
    ):  # fmt: skip
        assert promised in text
    pages = [Page("".join(output["data"]["text/html"])) for output in outputs if "text/html" in output.get("data", {})]
    told = "\n".join("".join(page.texts) for page in pages)
    for promised in (
        "their sum: 7",
        "their sum: 13",
        "max pooling78",
        "LeNet5: 61,706 parameters",
        "stride 2, padding 1: 3x3",
        "plain network103,510",
    ):
        assert promised in told
    for page in pages:
        assert all(alt for alt in page.alts), "every picture says in words what it shows"


def test_the_file_is_small_and_changes_no_more_than_its_content() -> None:
    notebook = json.loads(CHAPTER.read_text())
    assert CHAPTER.stat().st_size < MOST_BYTES
    assert notebook["metadata"] == METADATA, "python -m tests.notebooks writes it so"
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}] * len(notebook["cells"])
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "it was run from its beginning"
