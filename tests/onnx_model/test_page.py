"""The page tells which operators are computed, and since when, as the table of them has it."""

import re
from pathlib import Path

import onnx

import gpucnn
from gpucnn.onnx_model import operators

PAGE = Path(gpucnn.__file__).parent / "onnx_model" / "README.md"


def test_the_page_has_every_operator_with_its_first_version() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.read_text().partition("## What is computed")[2], re.MULTILINE)
    told = {family: dict((*one.split(" "), "1")[:2] for one in text.split(", ")) for family, text in rows}
    families = {name: module.OPERATORS for name, module in vars(operators).items() if hasattr(module, "OPERATORS")}
    expected = {
        family: {name: str(operator.since[0]) for name, operator in sorted(table.items())}
        for family, table in families.items()
    }
    assert told == expected
    assert sum(map(len, expected.values())) == len(operators.OPERATORS)


def test_every_file_of_the_package_is_on_the_page() -> None:
    text = PAGE.read_text()
    files = {path.name for path in PAGE.parent.glob("*.py")} - {"__init__.py"}
    assert {name for name in files if f"`{name}`" not in text} == set()


def test_versions_are_those_of_onnx() -> None:
    schemas = [one for one in onnx.defs.get_all_schemas_with_history() if one.domain == ""]
    known = {(one.name, one.since_version) for one in schemas}
    alive = {(one.name, one.since_version) for one in schemas if not one.deprecated}
    newest = onnx.defs.onnx_opset_version()
    ours = {(name, version) for name, operator in operators.OPERATORS.items() for version in operator.since}
    assert {(name, version) for name, version in ours if version <= newest} <= known
    # From the first on all are known: a version between would mean something that nobody looked at. Of what a newer onnx brings,
    # files are refused by name.
    first = {name: operator.since[0] for name, operator in operators.OPERATORS.items()}
    last = max(version for _, version in ours)
    assert {(name, version) for name, version in alive if name in first and first[name] <= version <= last} <= ours
