"""What ONNX's authors recorded comes out, of every case whose operators are computed here; what is refused stands in a list.

`pytest --onnx` computes all 1,905; else those that take others apart into more basic operators are left out.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.onnx_model.recorded_cases import (
    FAMILIES,
    OPERATOR,
    PASSED,
    REASONS,
    VERSION,
    Outcome,
    cases,
    difference,
    network_outcome,
    outcome,
    refused_cases,
    table,
    whole_networks,
)


@pytest.fixture(scope="module")
def outcomes(pytestconfig: pytest.Config) -> list[Outcome]:
    whole = bool(pytestconfig.getoption("--onnx"))
    return [outcome(folder) for family in FAMILIES for folder in cases(family, whole)]


@pytest.mark.sample(0)
def test_what_is_not_refused_passes(outcomes: list[Outcome], report: Callable[[str], None]) -> None:
    """100 % of what has operators of ours alone, but for the reasons that are told."""
    if not any(cases("node")):
        pytest.skip(f"the onnx installed comes without the recorded cases: pip install onnx=={VERSION}")
    report("\n".join(["ONNX's recorded cases:", *table(outcomes)]))
    assert [one for one in outcomes if one.reason not in (PASSED, *REASONS)] == []
    assert [one for one in outcomes if one.reason == OPERATOR and not one.operators] == []
    assert sum(one.reason == PASSED for one in outcomes) > 700


def test_refused_for_the_operators_that_are_not_computed(outcomes: list[Outcome]) -> None:
    """All of them are named, whatever else is wrong."""
    for one in outcomes:
        if one.operators:
            assert one.reason == OPERATOR, one
            missing = one.operators[:8]
            assert all(name in one.said for name in missing), one


@pytest.mark.skipif(onnx.__version__ != VERSION, reason=f"the list is of the cases of onnx {VERSION}")
def test_nothing_is_refused_silently(outcomes: list[Outcome]) -> None:
    """Which cases are refused for what, exactly; and which operators cases have that are not computed."""
    listed, known = refused_cases(), {one.name for one in outcomes}
    assert listed.keys() == REASONS.keys()
    for reason in REASONS:
        if reason != OPERATOR:
            assert {one.name for one in outcomes if one.reason == reason} == listed[reason] & known, reason
    found = {name for one in outcomes for name in one.operators}
    assert found <= listed[OPERATOR]


def test_every_listed_case_is_there(pytestconfig: pytest.Config, outcomes: list[Outcome]) -> None:
    if not pytestconfig.getoption("--onnx") or onnx.__version__ != VERSION:
        pytest.skip("some are left out")
    listed = refused_cases()
    assert {name for reason in REASONS if reason != OPERATOR for name in listed[reason]} <= {
        one.name for one in outcomes
    }
    assert {name for one in outcomes for name in one.operators} == listed[OPERATOR]
    assert len(outcomes) == 1905


@pytest.mark.parametrize("path", whole_networks(), ids=lambda path: path.stem)
def test_whole_networks(path: Path, pytestconfig: pytest.Config) -> None:
    """AlexNet, DenseNet, two Inceptions, ResNet-50, ShuffleNet, SqueezeNet, VGG-19 and ZFNet."""
    if not pytestconfig.getoption("--onnx"):
        pytest.skip("with --onnx alone")
    assert network_outcome(path) == PASSED


def test_a_wrong_output_is_noticed() -> None:
    one = [np.array([1.0, 2.0], np.float32)]
    assert difference(one, one) == PASSED
    assert difference(one, [np.array([1.0, 2.001], np.float32)]) == "output 0 differs by up to 0.001"
    assert difference(one, [np.array([1.0, np.nan], np.float32)]).startswith("output 0 differs by up to")
    assert difference(one, [np.array([1.0, 2.0])]) == "output 0 is float32 (2,), float64 (2,) was recorded"
    assert difference(one, []) == "1 outputs, 0 were recorded"
