"""The model of several GPUs: on figures that can be worked out by hand, and the page that shows it."""

import itertools
from pathlib import Path

import pytest

from gpucnn.benchmark import scaling
from gpucnn.benchmark.gpus import GPUS
from gpucnn.benchmark.prediction import Prediction
from gpucnn.benchmark.scaling import Cluster, Link, direct, efficiency, ring, two_level
from gpucnn.benchmark.training_step import Workload
from gpucnn.cli.main import main

pytestmark = pytest.mark.usefixtures("wide_terminal")

PAGE = Path(scaling.__file__).parents[1] / "backend" / "SCALING.md"
FAST, SLOW = Link(1e9, 1e-3, 1e-4), Link(1e8, 1e-2, 1e-4)
NODE = Cluster("", 4, 4, FAST, SLOW)
NODES = Cluster("", 16, 4, FAST, SLOW)


def test_the_exchange_of_a_node() -> None:
    assert direct(4e6, NODE) == pytest.approx(2 * (1e-3 + 3 * (1e-4 + 1e-3)))
    assert ring(4e6, NODE) == pytest.approx(6 * (1e-3 + 1e-3))
    assert two_level(4e6, NODE) == direct(4e6, NODE), "one node has one level"


def test_the_exchange_of_several_nodes() -> None:
    assert direct(16e6, NODES) == pytest.approx(2 * (1e-2 + 12 * (1e-4 + 1e-2)))
    assert two_level(16e6, NODES) == pytest.approx(2 * (1e-3 + 3 * (1e-4 + 4e-3)) + 2 * (1e-2 + 3 * (1e-4 + 1e-2)))
    assert ring(16e6, NODES) == pytest.approx(30 * (1e-2 + 1e-2))


def test_efficiency_of_a_step_without_jitter() -> None:
    def way(nbytes: float, cluster: Cluster) -> float:
        return nbytes

    found = efficiency(1.0, 0.4, NODE, way, early_final=0.5, jitter=0.0)
    assert found.plain == pytest.approx(1 / 1.4)
    assert found.overlapped == pytest.approx(
        1 / 1.1
    )  # three quarters fit into the 0.3 s of the backward pass that are left
    assert efficiency(1.0, 0.8, NODE, way, early_final=0.5, jitter=0.0).overlapped == pytest.approx(1 / 1.5)
    slow = efficiency(1.0, 0.0, NODE, way, jitter=0.1).plain
    assert slow == pytest.approx(1 / (1 + 0.1 * 1.66511), rel=1e-5)  # sqrt(2 ln 4)


def test_an_exchange_is_never_cut_where_that_takes_longer() -> None:
    def way(nbytes: float, cluster: Cluster) -> float:
        return 1.0

    both = efficiency(1.0, 1.0, NODE, way)
    assert both.overlapped == both.plain


def test_what_a_process_gives_is_counted() -> None:
    assert scaling.payload_bytes("lenet5") == 4 * 61_706
    assert scaling.payload_bytes("resnet20") == 4 * (269_722 + 1_376)  # means and variances of 688 channels


def same(line: str) -> str:
    return " ".join(line.split())


def is_rule(line: str) -> bool:
    return set(line) == {"-"}


def test_the_page_has_what_is_printed() -> None:
    _, block, _ = PAGE.read_text().split("```")
    on_page = [same(line) for line in block.strip().splitlines() if line and not is_rule(line)]
    names, sizes = ("lenet5", "vgg_mini", "resnet20"), (64, 512)
    predictions = [Prediction.of(Workload(*one), GPUS["h200"]) for one in itertools.product(names, sizes)]
    printed = [same(line) for line in scaling.lines(predictions) if line and not is_rule(line)]
    assert [line for line in on_page if not line.startswith("resnet50 ")] == printed
    assert "PREDICTED" in printed[0]


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["bench", "--models", "lenet5", "--batch-sizes", "8"]
    assert main([*arguments, "--scaling"]) == 1
    assert capsys.readouterr().err == "gpucnn bench: --scaling is for predictions: give --device cuda --model, too\n"
    assert main([*arguments, "--device", "cuda", "--model", "--scaling"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(same(line).startswith("lenet5 8 ") and line.count("/") == 8 for line in lines)
