"""What README.md and CONTRIBUTING.md promise is so."""

import re
from pathlib import Path

import pytest

from gpucnn.errors import ShapeError
from gpucnn.testing.emulator import compiler

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_in_readme_runs() -> None:
    training, own_layer, emulated = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(training, "README.md", "exec"), names)
    assert names["loss"].item() < 2.3  # type: ignore[attr-defined]
    good, _, bad = own_layer.rpartition("Refine()")
    exec(compile(good, "README.md", "exec"), names)
    with pytest.raises(ShapeError) as raised:
        exec(compile("Refine()" + bad, "README.md", "exec"), names)
    promised = re.search(r"# ShapeError: (.*?);\n\s*# (.*)", own_layer)
    assert promised
    assert str(raised.value) == f"{promised[1]}; {promised[2]}"
    if compiler():
        exec(compile(emulated, "README.md", "exec"), names)
        assert names["logits"].shape == (29, 10)  # type: ignore[attr-defined]


def test_ci_runs_readme_s_own_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.rpartition("/")[2] for command in commands] == ["gpucnn train", "pytest"]
    assert "readme_command 'gpucnn train'" in script
    assert "readme_command pytest" in script
