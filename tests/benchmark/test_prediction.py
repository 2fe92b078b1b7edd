"""Predicted times, on operations that are made up; and what is said of them."""

import dataclasses
import json
import math

import pytest

from gpucnn import models
from gpucnn.backend import choose_device
from gpucnn.benchmark import prediction_report
from gpucnn.benchmark.gpus import GPU, GPUS, named
from gpucnn.benchmark.limit import Work, training_step_work
from gpucnn.benchmark.prediction import Counts, Prediction, counts, roofline_seconds, seconds, step_operations
from gpucnn.benchmark.training_step import Workload
from gpucnn.kernels.convolution.tensor_clocks import product_clocks, tile_clocks, weight_clocks
from gpucnn.testing import emulated_gpu
from gpucnn.testing.operation_log import Operation

pytestmark = pytest.mark.usefixtures("wide_terminal")

TOY = GPU(
    "Toy", bandwidth=1e12, cache_bytes=200e6, cache_bandwidth=4e12, fp32=1e13, tf32=1e14, multiprocessors=10, clock=1e9,
    host_link=1e10, peer_link=2e10, launch_floor=1e-6, eager_call=1e-5, graph_launch=2e-5,
)  # fmt: skip
LAUNCH = Operation("launch", "relu", (1,), 400_000_000, 500_000_000, 1)
SMALL = Operation("launch", "relu", (1,), 8, 8, 1)
PRODUCT = Operation("product", "gemm", (1, 1280, 1280, 100), 8, 8, 2 * 1280 * 1280 * 100)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (LAUNCH, 9e8 / (1e12 * 0.9)),
        (LAUNCH._replace(read=40_000_000, written=50_000_000), 9e7 / (4e12 * 0.9)),  # in the cache
        (LAUNCH._replace(flops=10**9), 25e9 / (10 * 128e9 * 0.7)),  # instructions take longer
        (SMALL, 1e-6),
        (Operation("synchronize", "get"), 1e-6),
        (Operation("upload", "array", (2,), 0, 10**7), 1e-6 + 1e-3),
        (Operation("download", "get", (2,), 10**7), 1e-6 + 1e-3),
        (PRODUCT, PRODUCT.flops / (1e13 * 0.85)),  # 100 tiles of 128 x 128: ten full waves
        (PRODUCT._replace(read=8 * 10**9), 8e9 / 0.9e12),
    ],
)
def test_an_operation_takes_what_it_has_most_of(operation: Operation, expected: float) -> None:
    assert seconds(operation, TOY) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("sizes", "slower", "more"),
    [
        ((1, 1280, 1216, 100), 1280 / 1216, 0.0),  # half-empty tiles in the last column
        ((101, 128, 128, 100), 110 / 101, 0.0),  # the last wave has one tile for ten multiprocessors
        ((20, 64, 64, 100), 2.0, 0.0),  # tiles with half the side, each of whose numbers serves half as often
        ((1, 128, 128, 100), 10.0, 0.0),  # one tile, and nine multiprocessors idle
        ((1, 128, 128, 2560), 1.0, 1.5e-6),  # cut along its depth, and added up
        ((1, 16, 1280, 100), 8**0.5, 0.0),
    ],
)
def test_products_that_do_not_fill_the_gpu(sizes: tuple[int, ...], slower: float, more: float) -> None:
    product = Operation("product", "gemm", sizes, 8, 8, 2 * math.prod(sizes))
    assert seconds(product, TOY) == pytest.approx(product.flops / (1e13 * 0.85) * slower + more)


def test_a_convolution_that_gathers_takes_its_multiply_adds() -> None:
    convolution = Operation("launch", "conv2d_forward", (1,), 8, 8, 10**9)
    assert seconds(convolution, TOY) == pytest.approx(1e9 / (1e13 * 0.5 * 0.7))
    assert seconds(convolution, TOY, tf32=True) == seconds(convolution, TOY)
    assert roofline_seconds(convolution, TOY) == pytest.approx(1e-4)
    assert counts([convolution, PRODUCT])[-1] == 10**9 + PRODUCT.flops


def test_a_convolution_on_tensor_cores_takes_the_clocks_that_were_counted() -> None:
    convolution = Operation("launch", "tensor_forward", (10, 10**6), 8, 8, 10**9)
    slow = dataclasses.replace(TOY, tf32=1e12)
    for tf32 in (False, True):
        assert seconds(convolution, TOY, tf32) == pytest.approx(1e6 / 10 / 1e9)
        assert seconds(convolution, slow, tf32) == pytest.approx(1e9 / (1e12 * 0.75))
    assert seconds(convolution._replace(detail=(11, 11 * 10**5)), TOY) == pytest.approx(2 * 1e5 / 1e9), "two waves"
    assert counts([convolution])[-1] == 10**9


def test_clocks_of_a_tile() -> None:
    """Of 64 x 64, in a step of 16 words: what is gathered, weights, what is stored, what 8 warps read of 32 x 16 each."""
    step = 64 / 32 * 16 * 1.5 + 64 * 4 + (64 + 64) * 16 / 32 + 8 * (32 + 16) * 64 / 128
    assert tile_clocks(64, 64, 4, 64, 9) == round(4 * 9 * step + 64 * 64 / 4)
    assert tile_clocks(64, 64, 2, 7, 3) == round(2 * step + 64 * 64 / 4), (
        "7 channels for 4 threads, 6 numbers each in 4s"
    )
    sizes = dict.fromkeys(("groups", "channels", "filters", "kernel_height", "kernel_width", "positions", "pixels"), 1)
    sizes |= {"forward_rows": 16, "forward_columns": 64, "forward_channels": 1, "images_rows": 16, "images_columns": 64}
    sizes |= {"images_filters": 1, "filters": 17, "positions": 65, "pixels": 64, "groups": 3}
    assert product_clocks(sizes, "forward") == 2 * 2 * 3 * tile_clocks(16, 64, 1, 1, 1)
    assert product_clocks(sizes, "images") == 3 * tile_clocks(16, 64, 1, 17, 1)
    sizes |= {
        "weight_rows": 64,
        "weight_channels": 16,
        "kernel_height": 3,
        "kernel_width": 3,
        "channels": 17,
        "filters": 64,
    }
    moved = (64 + 144) * (1.5 + 1) / 32 + 8 * (32 + 40) * 4 / 128
    assert weight_clocks(sizes) == round(2 * 3 * 65 * moved)


def test_the_step_in_tf32_over_that_of_pytorch() -> None:
    found = Prediction.of(Workload("vgg_mini", 64), GPUS["h200"])
    names = [one.name for one in found.in_tf32.operations]
    assert [names.count(name) for name in ("few_channels_forward", "tensor_forward", "im2col")] == [1, 3, 0]
    assert found.tf32_seconds < found.by_columns.graph_seconds(tf32=True)
    assert found.pytorch_seconds == 0.55e-3
    lines = prediction_report.lines([found])
    row = lines[next(place for place, line in enumerate(lines) if "TF32 ms" in line) + 2].split()
    assert row[-2] == f"{found.tf32_seconds / 0.55e-3:.2f}"
    assert Prediction.of(Workload("lenet5", 65), GPUS["h200"], []).pytorch_seconds is None


def test_a_step_and_the_same_by_columns() -> None:
    found = Prediction.of(Workload("lenet5", 64), GPUS["h200"])
    by_columns = found.by_columns
    ours, laid_out = counts(found.operations), counts(by_columns.operations)
    assert ours.product_flops == laid_out.product_flops
    assert 2 * (ours.bytes_read + ours.bytes_written) < laid_out.bytes_read + laid_out.bytes_written
    names = [[one.name for one in step.operations] for step in (found, by_columns)]
    assert [step.count("conv2d_max_pool") for step in names] == [2, 0]
    assert [step.count("im2col") for step in names] == [0, 4]
    lines = prediction_report.lines([found])
    row = lines[next(place for place, line in enumerate(lines) if "lay out" in line) + 2].split()
    assert row[:4] == ["lenet5", "64", "2", "0"]
    assert float(row[4]) == round((ours.bytes_read + ours.bytes_written) / 1e6, 1)
    assert float(row[7]) == round(by_columns.graph_seconds() * 1e3, 3)


def test_tensor_cores_are_faster_and_never_slower() -> None:
    assert seconds(PRODUCT, TOY, tf32=True) == pytest.approx(PRODUCT.flops / (1e14 * 0.75))
    for gpu in GPUS.values():
        assert seconds(PRODUCT, gpu, tf32=True) <= seconds(PRODUCT, gpu)
    assert seconds(LAUNCH, TOY, tf32=True) == seconds(LAUNCH, TOY)


def test_the_roofline_is_the_gpu_s_best() -> None:
    assert roofline_seconds(LAUNCH, TOY) == pytest.approx(9e8 / 1e12)
    assert roofline_seconds(PRODUCT, TOY) == pytest.approx(PRODUCT.flops / 1e13)
    assert roofline_seconds(Operation("upload", "array", (2,), 0, 10**7), TOY) == pytest.approx(1e-3)
    for operation in (LAUNCH, SMALL, PRODUCT):
        for gpu in GPUS.values():
            assert roofline_seconds(operation, gpu) < seconds(operation, gpu)


OPERATIONS = [
    Operation("launch", "add", (1,), 400_000_000, 500_000_000, 1),
    PRODUCT,
    Operation("launch", "add", (1,), 90, 10, 1),
    Operation("upload", "set", (2,), 0, 8),
    Operation("download", "get", (2,), 8),
    Operation("synchronize", "Stream.synchronize"),
]
STEP = Prediction(Workload("lenet5", 64), TOY, OPERATIONS, Work(10**9, 10**8))


def test_counts() -> None:
    assert counts(OPERATIONS) == Counts(2, 1, 1, 2, 400_000_106, 500_000_026, PRODUCT.flops)
    assert counts([]) == Counts(0, 0, 0, 0, 0, 0, 0)


def test_a_step_as_one_graph_and_launched_one_by_one() -> None:
    device = sum(seconds(operation, TOY) for operation in OPERATIONS)
    assert STEP.device_seconds() == pytest.approx(device)
    assert STEP.graph_seconds() == pytest.approx(device + 2e-5)
    assert STEP.graph_seconds(tf32=True) < STEP.graph_seconds()
    assert STEP.tf32_seconds == STEP.in_tf32.graph_seconds(tf32=True) < STEP.by_columns.graph_seconds()
    assert STEP.eager_seconds == pytest.approx(device)
    many = dataclasses.replace(STEP, operations=[SMALL] * 1000)
    assert many.eager_seconds == pytest.approx(1000 * 1e-5), "the host is slower than the GPU"
    assert many.graph_seconds() == pytest.approx(1000 * 1e-6 + 2e-5)


def test_the_share_of_the_roofline_is_that_of_what_the_net_needs() -> None:
    assert STEP.roofline == pytest.approx(2e9 / 1e13)
    assert STEP.roofline_share == pytest.approx(2e-4 / STEP.graph_seconds())
    bytes_decide = dataclasses.replace(STEP, needed=Work(10**9, 10**9))
    assert bytes_decide.roofline == pytest.approx(1e-3)


def test_kernels_are_added_up_and_the_longest_comes_first() -> None:
    rows = STEP.kernels()
    assert [(row.kind, row.name, row.calls) for row in rows][:2] == [("launch", "add", 2), ("product", "gemm", 1)]
    assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True)
    assert rows[0][3:6] == (400_000_090, 500_000_010, 0)
    assert rows[1].flops == PRODUCT.flops
    assert sum(row.seconds for row in rows) == pytest.approx(STEP.device_seconds())


def test_a_step_is_found_and_predicted() -> None:
    found = Prediction.of(Workload("lenet5", 1024), GPUS["h200"])
    assert counts(found.operations).products == 0, "its linear layers are small"
    assert found.needed == training_step_work(models.LeNet5(), (1, 32, 32), 1024)
    assert 1e-5 < found.graph_seconds() < found.eager_seconds < 1e-2
    assert 0 < found.roofline_share < 1
    slower = Prediction.of(Workload("lenet5", 1024), GPUS["rtx4060"], found.operations)
    assert slower.graph_seconds() > 2 * found.graph_seconds()


def test_a_step_is_found_beside_another_gpu() -> None:
    before = step_operations(Workload("lenet5", 2))
    with emulated_gpu() as cupy:
        assert step_operations(Workload("lenet5", 2)) == before
        assert choose_device("cuda").device.xp is cupy


# What is said.


def test_everything_that_is_said_says_that_it_is_predicted() -> None:
    lines = prediction_report.lines([STEP, STEP])
    assert lines[0] == "PREDICTED for Toy: nothing here ran on a GPU"
    assert lines[1] == "exact: counts, bytes, FLOPs of products; a model: all times, +-40%"
    assert lines[2] == (
        "assumed: 1.00 TB/s (90% of it are reached), 4.0 TB/s for what fits half of 200 MB of L2, 10.0 TFLOP/s float32 (85%), "
        "100.0 TF32 (75%), 25 instructions an element (70% of those there are), 50% of a gathering convolution's multiply, "
        "128 bytes a clock through shared memory in one on tensor cores, 1.0 us for the shortest kernel, 20 GB/s to another GPU, 10 us for the shortest exchange"
    )
    assert lines[3] == "assumed of the host: 10 us an operation in CuPy's own calls, 20 us to launch a graph"
    assert lines[4].startswith("unknown: the time of the Python around the calls")
    headers = [line for before, line in zip(lines[1:], lines, strict=False) if before.startswith("---")]
    assert len(headers) == 5
    assert all(header.startswith("predicted") for header in headers)


def test_a_step_on_several_gpus() -> None:
    """All of a model's parameters and statistics go out and come back in slices, one a GPU, in two launches of NCCL's."""
    numbers = 61_706  # of LeNet-5
    for gpus in (2, 4, 8):
        found = STEP.shared(gpus)
        assert (found.gpus, found.exchanges, found.launches) == (gpus, 2, 1)
        slices = [(rank + 1) * numbers // gpus - rank * numbers // gpus for rank in range(gpus)]
        assert found.bytes_sent == 4 * (sum(slices[1:]) + slices[0] * (gpus - 1))
        moved = 4 * slices[0] * (gpus + 1)  # all that has come is read, and the sum is written
        sums = max(moved / (4e12 * 0.9), gpus * slices[0] * 25 / (10 * 128e9 * 0.7), 1e-6)
        assert found.seconds == pytest.approx(2 * 10e-6 + found.bytes_sent / 2e10 + sums, rel=0.01)
    lines = prediction_report.lines([STEP])
    row = lines[next(place for place, line in enumerate(lines) if "NCCL" in line) + 4].split()
    assert row[:5] == ["lenet5", "64", "8", "2", "1"]
    assert float(row[5]) == round(found.bytes_sent / 1e6, 2)
    assert float(row[6]) == round(found.seconds * 1e6, 1)
    assert float(row[7]) == round(STEP.graph_seconds() / (STEP.graph_seconds() + found.seconds), 2)


def test_an_exchange_takes_its_bytes_and_no_less_than_the_shortest() -> None:
    exchange = Operation("exchange", "nccl", (4, 2_000_000), 3_000_000, 3_000_000)
    assert seconds(exchange, TOY) == pytest.approx(10e-6 + 1e-4)
    assert roofline_seconds(exchange, TOY) == pytest.approx(1e-4)


def test_the_tables() -> None:
    lines = prediction_report.lines([STEP])
    step = lines[8].split()
    assert step[:9] == ["lenet5", "64", "2", "1", "1", "2", "400.0", "500.0", "0.33"]
    times = (STEP.eager_seconds, STEP.graph_seconds(), STEP.tf32_seconds)
    in_bf16 = counts(STEP.in_bf16.operations)
    assert float(step[9]) == round((in_bf16.bytes_read + in_bf16.bytes_written) / 1e6, 1)
    assert step[10:] == [*(f"{1e3 * one:.3f}" for one in times), f"{STEP.roofline_share:.2f}"]  # the toy has no PyTorch
    rows = [line for line in lines if line.startswith(("add", "gemm", "total"))]
    assert [row.split()[0] for row in rows] == ["add", "gemm", "total"]
    assert rows[1].split()[:3] == ["gemm", "(product)", "1"]
    assert rows[2].split()[1:4] == ["6", "400.00", "500.00"]
    assert rows[2].split()[-2] == "100%"


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(prediction_report.as_json([STEP])))
    assert found["nature"] == "predicted: nothing ran on a GPU"
    assert (found["uncertainty"], found["gpu"]["title"], found["gpu"]["fp32"]) == (0.4, "Toy", 1e13)
    assert found["assumptions"] == prediction_report.lines([STEP])[:5]
    (step,) = found["steps"]
    assert step["workload"] == "lenet5 64"
    assert {name: step[name] for name in Counts._fields} == counts(OPERATIONS)._asdict()
    assert step["host_python_seconds"] is None
    assert step["predicted_graph_seconds"] == STEP.graph_seconds()
    assert step["predicted_graph_seconds_tf32"] == STEP.tf32_seconds
    assert step["predicted_pytorch_eager_seconds"] is None
    assert step["predicted_eager_seconds_at_least"] == STEP.eager_seconds
    assert step["roofline_share"] == STEP.roofline_share
    assert [row["name"] for row in step["kernels"]] == [row.name for row in STEP.kernels()]
    assert step["kernels"][0]["calls"] == 2
    assert step["on_several_gpus"] == [STEP.shared(gpus)._asdict() for gpus in (2, 4, 8)]


# The GPUs.


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_s_figures_fit_each_other(name: str) -> None:
    """float32 is two FLOPs a core and clock, 128 cores a multiprocessor; the A100 has 64."""
    gpu = GPUS[name]
    cores = 64 if name == "a100" else 128
    assert gpu.fp32 == pytest.approx(gpu.multiprocessors * cores * 2 * gpu.clock, rel=0.02)
    assert gpu.tf32 >= gpu.fp32
    assert gpu.cache_bandwidth > gpu.bandwidth > gpu.host_link


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "rtx4060"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA GeForce RTX 4060 Ti", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 NVL", None),
        ("CuPy stand-in", None),
        ("", None),
    ],
)
def test_a_gpu_is_known_by_its_driver_s_name(title: str, name: str | None) -> None:
    assert named(title) == name
