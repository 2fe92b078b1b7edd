"""The tables and the JSON, from results that are made up."""

import json

import pytest

from gpucnn.benchmark import report
from gpucnn.benchmark.limit import Work
from gpucnn.benchmark.rivals import Rival
from tests.benchmark.results import CHANNELS_LAST, EAGER, JIT, NUMPY, result, timing

pytestmark = pytest.mark.usefixtures("wide_terminal")


def test_all_tables() -> None:
    assert report.result_lines("step", [result()]) == [
        "step: milliseconds",
        "           gpucnn numpy  gpucnn jit  PyTorch eager  PyTorch channels_last  limit  numpy/limit  jit/limit",
        "-" * 104,
        "lenet5 64         4.000       1.000          2.000                 ~5.000  0.500          8.0        2.0",
        "medians of undisturbed blocks; ~ marks what is worth little, as every block was disturbed by other processes",
        "limit: multiply-adds at the speed of a large matrix product, and bytes that must move at the speed of a copy",
        "",
        "step: ratios to PyTorch",
        "           numpy/eager  numpy/channels_last  jit/eager  jit/channels_last",
        "-" * 73,
        "lenet5 64         2.00                ~0.80       0.50              ~0.20",
        "below 1, gpucnn is faster; channels_last: PyTorch with that memory format and its fused optimizer",
        "",
        "step: page faults of a call",
        "           gpucnn numpy  gpucnn jit  PyTorch eager  PyTorch channels_last",
        "-" * 73,
        "lenet5 64             0       1,234              0                      0",
        "",
        "step: peak memory in MB, over a process that has made a small step",
        "           gpucnn numpy  gpucnn jit  PyTorch eager  PyTorch channels_last",
        "-" * 73,
        "lenet5 64          12.3         1.0        unknown                    2.0",
        "",
        "largest relative difference of results: 2.5e-07, lenet5 64",
        "1 of 6 blocks were disturbed by other processes, and not counted",
    ]


def test_without_pytorch_there_are_no_ratios_and_of_operations_no_memory() -> None:
    lines = report.result_lines("operation", [result(timings={NUMPY: timing(0.004)}, peak_bytes={})])
    text = "\n".join(lines)
    assert "PyTorch" not in text
    assert "ratios" not in text
    assert "memory" not in text
    assert lines[1].split() == ["gpucnn", "numpy", "limit", "numpy/limit"]


def test_the_largest_difference_is_named() -> None:
    rows = [result(), result(workload="vgg_mini 8", difference=1e-5), result(difference=0.0)]
    assert "largest relative difference of results: 1.0e-05, vgg_mini 8" in report.result_lines("step", rows)


def test_ratios() -> None:
    assert result().ratio(JIT, EAGER) == pytest.approx(0.5)
    assert result().ratio(NUMPY, CHANNELS_LAST) == pytest.approx(0.8)


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(report.as_json({"system": "Linux"}, {"seconds": 3}, {"steps": [result()]})))
    assert set(found) == {"machine", "settings", "steps"}
    assert (found["machine"], found["settings"]) == ({"system": "Linux"}, {"seconds": 3})
    (row,) = found["steps"]
    assert set(row) == {"workload", "largest_difference", "limit", "contestants", "ratios", "seconds_outside_of_loops"}
    assert row["limit"] == {
        "seconds": 0.0005,
        "multiply_adds": 3_000_000,
        "bytes": 1_000_000,
        "multiply_adds_per_second": 1e10,
        "bytes_per_second": 5e9,
    }
    assert row["ratios"]["gpucnn jit / PyTorch eager"] == pytest.approx(0.5)
    assert len(row["ratios"]) == 4
    numpy = row["contestants"]["gpucnn numpy"]
    assert (numpy["median_seconds"], numpy["least_seconds"], numpy["undisturbed_blocks"]) == (0.004, 0.002, 3)
    assert numpy["spread_seconds"] == pytest.approx(0.001633, rel=1e-3)
    assert numpy["peak_bytes"] == 12_345_678
    assert numpy["blocks"][0] == {"seconds": 0.006, "page_faults": 0.0, "disturbance": 0.0}
    assert row["contestants"]["PyTorch channels_last"]["undisturbed_blocks"] == 0


def test_the_limit_is_arithmetic_and_memory_after_each_other() -> None:
    limit = result().limit
    assert limit.work == Work(3_000_000, 1_000_000)
    assert limit.seconds == pytest.approx(0.0003 + 0.0002)


def test_machine_lines() -> None:
    assert report.machine_lines({"a": "1", "long": "2"}) == ["a     1", "long  2"]


def test_recorded_steps_have_a_table_of_their_own() -> None:
    captured = Rival("gpucnn", "jit captured")
    found = result(timings={JIT: timing(0.001), captured: timing(0.0005)}, peak_bytes={}, outside_of_loops=6e-5)
    lines = report.result_lines("step", [found, found._replace(workload="vgg_mini 64", outside_of_loops=None)])
    table = lines.index("step: ratios of recorded steps")
    assert [line.split() for line in lines[table + 3 : table + 5]] == [
        ["lenet5", "64", "0.50", "0.060"], ["vgg_mini", "64", "0.50", "not", "recorded"],
    ]  # fmt: skip
    assert report.as_json({}, {}, {"steps": [found]})["steps"][0]["ratios"] == {"gpucnn jit captured / gpucnn jit": 0.5}
    assert not any("recorded" in line for line in report.result_lines("step", [result()]))
