"""What README.md, CONTRIBUTING.md and the pages beside the code promise is so."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn import data, models
from gpucnn.cli.commands import NAMES
from gpucnn.cli.main import main
from gpucnn.errors import ShapeError
from gpucnn.testing.emulator import compiler
from tests.cli.small_runs import save_digit
from tests.test_import_order import LEVELS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gpucnn"
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(PACKAGE.rglob("*.md")),
    *sorted(ROOT.glob("examples/*.md")),
]

LONGEST_README = 120
ROUNDED = 0.1
"""How far a count of lines may be from the one that a page names."""

IN_A_RUN_OR_A_DOWNLOAD = {"checkpoints/", "gzip/"}
"""Folders that pages name and that are not the repository's."""


def page(name: str) -> str:
    return (PACKAGE / name).read_text()


def python_in(text: str, count: int = 1) -> list[str]:
    """The examples of a page, of which there must be so many."""
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == count
    return found


def lines_of(*patterns: str) -> int:
    return sum(len(path.read_text().splitlines()) for pattern in patterns for path in ROOT.glob(pattern))


def test_the_python_in_readme_runs(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop, in_the_hand = python_in(README, 2)
    names: dict[str, object] = {}
    exec(compile(loop, "README.md", "exec"), names)
    assert names["loss"].item() < 2.3  # type: ignore[attr-defined]
    assert float(capsys.readouterr().out) > 0.5

    assert main(["train", "--epochs", "2", "--quiet", "--device", "cpu"]) == 0
    save_digit(in_tmp_path / "digit.png", 1)
    capsys.readouterr()
    exec(compile(in_the_hand, "README.md", "exec"), {})
    printed = ast.literal_eval(capsys.readouterr().out)
    promised = ast.literal_eval(in_the_hand.rpartition("# ")[2])
    assert len(printed) == len(promised) == 3
    assert printed[0][1] > printed[1][1] > printed[2][1] > 0
    assert printed[0][0] == str(data.load("digits").test.labels[1])


def test_the_python_of_layers_runs() -> None:
    names: dict[str, object] = {}
    (own_layer,) = python_in(page("layers/README.md"))
    good, _, bad = own_layer.rpartition("Refine()")
    exec(compile(good, "README.md", "exec"), names)
    with pytest.raises(ShapeError) as raised:
        exec(compile("Refine()" + bad, "README.md", "exec"), names)
    promised = re.search(r"# ShapeError: (.*?);\n\s*# (.*)", own_layer)
    assert promised
    assert str(raised.value) == f"{promised[1]}; {promised[2]}"


@pytest.mark.skipif(not compiler(), reason="the emulator needs g++")
def test_the_python_of_data_normalises() -> None:
    (example,) = python_in(page("data/README.md"))
    names: dict[str, Any] = {}
    exec(example, names)
    images, _ = names["splits"].train[np.arange(1437)]
    np.testing.assert_allclose((images.mean(), images.std()), (0, 1), atol=1e-4)


def test_the_python_of_testing_runs() -> None:
    names: dict[str, object] = {}
    (example,) = python_in(page("testing/README.md"))
    exec(compile(example, "README.md", "exec"), names)
    assert names["logits"].shape == (29, 10)  # type: ignore[attr-defined]


def test_ci_runs_readme_s_own_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.rpartition("/")[2] for command in commands] == ["gpucnn train", "pytest"]
    assert "readme_command 'gpucnn train'" in script
    assert "readme_command pytest" in script


def test_readme_is_one_page_and_links_every_other_once() -> None:
    assert len(README.splitlines()) <= LONGEST_README
    links = re.findall(r"\]\(([^)#:]+\.md)\)", README)
    assert sorted(links) == sorted(str(path.relative_to(ROOT)) for path in PAGES if path != ROOT / "README.md")


def test_readme_has_one_picture_which_is_small() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).stat().st_size < 200_000


def test_links_lead_somewhere() -> None:
    wrong = []
    for path in PAGES:
        for target, heading in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", path.read_text()):
            there = path.parent / target
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE) if there.suffix == ".md" else []
            slugs = [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]
            if not there.exists() or (heading and heading not in slugs):
                wrong.append(f"{path.relative_to(ROOT)}: {target}#{heading}")
    assert wrong == []


def test_files_and_folders_that_pages_name_are_there() -> None:
    """From the page's own folder, the package or the repository; NAME and FAMILY stand for a file that is to be written."""
    wrong = []
    for path in PAGES:
        own = path.parent if path.parent != ROOT else PACKAGE
        for named in re.findall(r"`([\w./*-]+(?:\.py|\.cu|\.md|/))`", path.read_text()):
            if re.search(r"\b(NAME|FAMILY|DIR|FOLDER)\b", named) or named in IN_A_RUN_OR_A_DOWNLOAD:
                continue
            folders = (path.parent, PACKAGE, ROOT)
            found = any(list(folder.glob(named.removeprefix("../"))) for folder in folders)
            if not found and not ("/" not in named and list(own.rglob(named))):
                wrong.append(f"{path.relative_to(ROOT)}: {named}")
    assert wrong == []


def test_tests_that_pages_name_are_there() -> None:
    written = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    named = {(path.name, name) for path in PAGES for name in re.findall(r"`(test_\w+)`", path.read_text())}
    assert [one for one in sorted(named) if f"def {one[1]}(" not in written] == []


def test_the_map_has_every_package_lowest_first() -> None:
    shown = README.partition("## Where things are")[2].partition("```text\n")[2].partition("```")[0]
    packages = [
        name.removesuffix(".py").strip("/")
        for line in shown.splitlines()
        for name in re.match(r"gpucnn/((?:\w+(?:\.py|/) ?)+)", line)[1].split()  # type: ignore[index]
    ]
    assert set(packages) == set(LEVELS)
    levels = [LEVELS[name] for name in packages]
    assert levels == sorted(levels)


ORDER = [
    (ROOT / path, name, int(lines))
    for path, name, lines in re.findall(r"^\| `([\w/]+\.py)`(?:, to `([\w.]+)`)? \| (\d+) \|", README, re.MULTILINE)
]
"""What is to be read: a file, the last thing to be read there if it is not all, and how many lines these are."""


def last_line(path: Path, name: str) -> int:
    """Where `name`, a function, a class or one of its methods, ends; without a name where the file does. 0 if it is not there."""
    text = path.read_text() if path.exists() else ""
    body: list[ast.stmt] = ast.parse(text).body
    end = len(text.splitlines())
    for part in name.split(".") if name else ():
        named = (node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part)
        found = next(named, None)
        if found is None or found.end_lineno is None:
            return 0
        body, end = found.body, found.end_lineno
    return end


def test_what_is_to_be_read_is_as_long_as_it_says() -> None:
    counted = {f"{path.name} {name}": (lines, last_line(path, name)) for path, name, lines in ORDER}
    assert {one: pair for one, pair in counted.items() if pair[0] != pytest.approx(pair[1], rel=ROUNDED)} == {}
    said = re.search(r"^(\w+) files, some of them only in part: ([\d,]+) lines", README, re.MULTILINE)
    assert said
    assert (said[1], len(ORDER)) == ("Fifteen", 15)
    assert int(said[2].replace(",", "")) == sum(lines for _, _, lines in ORDER) <= 1600


def test_nobody_has_to_look_ahead() -> None:
    """No file of the order imports one that comes later in it."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path, _, _ in ORDER]
    ahead = []
    for place, (path, _, _) in enumerate(ORDER):
        for node in ast.walk(ast.parse(path.read_text() if path.exists() else "")):
            if isinstance(node, ast.ImportFrom):
                imported = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                ahead += [f"{path.name}:{node.lineno}" for module in modules[place + 1 :] if module in imported]
    assert ahead == []


def test_the_whole_is_as_large_as_it_says() -> None:
    said = re.search(r"([\d,]+) lines of Python and ([\d,]+) of CUDA C.*tests have ([\d,]+) lines", README, re.DOTALL)
    assert said
    package, cuda, tests = (int(number.replace(",", "")) for number in said.groups())
    assert package == pytest.approx(lines_of("gpucnn/**/*.py"), rel=ROUNDED)
    assert cuda == pytest.approx(lines_of("gpucnn/**/*.cu"), rel=ROUNDED)
    assert tests == pytest.approx(lines_of("tests/**/*.py"), rel=ROUNDED)


def test_the_pages_have_every_model_command_and_data_set() -> None:
    assert [name for name in models.names() if f"`{name}`" not in page("models/README.md")] == []
    assert [name for name in NAMES if f"\ngpucnn {name} " not in page("cli/README.md")] == []
    assert [name for name in data.names() if not re.search(rf"\b{name}\b", page("data/README.md"))] == []


def test_readme_s_figures_are_among_the_measured_ones() -> None:
    short = README.partition("## Measured, in short")[2].partition("##")[0]
    figures = re.findall(r"\d+\.[\de.-]+|\d+ of \d+", short)
    assert len(figures) > 8
    assert [figure for figure in figures if figure not in page("benchmark/MEASURED.md")] == []
