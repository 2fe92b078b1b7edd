"""The example on the page of `gpucnn.explain` runs, and gives what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from gpucnn import explain

PAGE = Path(explain.__file__).parent / "README.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["heat"].shape == (32, 32)
    assert names["maps"]["conv1"].shape == (6, 28, 28)
    assert sorted(names["patches"]) == list(range(16))
    assert capsys.readouterr().out.startswith("[Box(top=")


def test_the_page_has_everything_public() -> None:
    table = PAGE.read_text()
    for name in explain.__all__:
        if name not in ("Box", "Patch"):
            assert f"`{name}`" in table
