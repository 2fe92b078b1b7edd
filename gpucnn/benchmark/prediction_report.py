"""Predictions as text, and as JSON. Each says that it is one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from gpucnn.benchmark.gpus import GPU
from gpucnn.benchmark.prediction import (
    GATHERED_SHARE,
    ISSUE_SHARE,
    MEMORY_SHARE,
    PRODUCT_SHARE,
    SLOTS_AN_ELEMENT,
    TF32_PRODUCT_SHARE,
    UNCERTAINTY,
    KernelRow,
    Prediction,
    Sharing,
    counts,
)
from gpucnn.kernels.convolution import tensor_cores
from gpucnn.kernels.convolution.few_channels import MOST_CHANNELS
from gpucnn.kernels.convolution.implicit import MOST_FILTERS, MOST_TAPS
from gpucnn.text_table import stacked_tables

STEP_HEADER = ("predicted", "launches", "products", "uploads", "waits", "MB read", "MB written", "GFLOP", "bf16 MB", "eager ms >",
               "graph ms", "TF32 ms", "of PyTorch's", "of roofline")  # fmt: skip
SHARED_HEADER = ("predicted", "GPUs", "NCCL", "sums", "MB sent", "us", "efficiency >")
WITHOUT_COLUMNS = ("conv2d_forward", "conv2d_max_pool", "few_channels_forward", "depthwise_forward")
"""Kernels that convolve without columns in float32."""

COLUMNS_HEADER = ("predicted", "gather", "lay out", "MB", "graph ms", "all by columns: MB", "graph ms")
GPUS_OF_A_MACHINE = (2, 4, 8)
KERNEL_HEADER = ("predicted", "calls", "MB read", "MB written", "GFLOP", "us", "of the time", "of roofline")


def assumptions(gpu: GPU) -> list[str]:
    """What a prediction rests on beside the exact counts, line by line."""
    cache = f"{gpu.cache_bandwidth / 1e12:.1f} TB/s for what fits half of {gpu.cache_bytes / 1e6:.0f} MB of L2"
    speeds = (
        f"{gpu.bandwidth / 1e12:.2f} TB/s ({MEMORY_SHARE:.0%} of it are reached)",
        cache,
        f"{gpu.fp32 / 1e12:.1f} TFLOP/s float32 ({PRODUCT_SHARE:.0%})",
        f"{gpu.tf32 / 1e12:.1f} TF32 ({TF32_PRODUCT_SHARE:.0%})",
        f"{SLOTS_AN_ELEMENT} instructions an element ({ISSUE_SHARE:.0%} of those there are)",
        f"{GATHERED_SHARE:.0%} of a gathering convolution's multiply",
        "128 bytes a clock through shared memory in one on tensor cores",
        f"{gpu.launch_floor * 1e6:.1f} us for the shortest kernel",
        f"{gpu.peer_link / 1e9:.0f} GB/s to another GPU, {gpu.exchange_floor * 1e6:.0f} us for the shortest exchange",
    )
    calls, launch = (
        f"{gpu.eager_call * 1e6:.0f} us an operation in CuPy's own calls",
        f"{gpu.graph_launch * 1e6:.0f} us",
    )
    return [
        f"PREDICTED for {gpu.title}: nothing here ran on a GPU",
        f"exact: counts, bytes, FLOPs of products; a model: all times, +-{UNCERTAINTY:.0%}",
        f"assumed: {', '.join(speeds)}",
        f"assumed of the host: {calls}, {launch} to launch a graph",
        "unknown: the time of the Python around the calls; an eager step takes longer than what is told here (>)",
    ]


def lines(predictions: Sequence[Prediction]) -> list[str]:
    """What is assumed, a table of all steps, and for each of them one of its kernels."""
    found = [*assumptions(predictions[0].gpu), ""]
    found += stacked_tables(STEP_HEADER, [_step(one) for one in predictions], "l" + "r" * (len(STEP_HEADER) - 1))
    found += [
        "eager: launched one by one; graph: the step as one graph; TF32: the same with products and convolutions on tensor cores",
        "bf16 MB: read and written in bf16, whose activations have two bytes; for its time the model has no rates",
        "of PyTorch's: the TF32 step over PyTorch's eager one, which is predicted too, see pytorch_eager.py",
        "of roofline: the least time for the bytes and multiply-adds that the net needs, over that of the graph",
    ]
    columns = [_columns(one, one.by_columns) for one in predictions]
    found += ["", *stacked_tables(COLUMNS_HEADER, columns, "l" + "r" * (len(COLUMNS_HEADER) - 1))]
    found.append(_rule())
    shared = [_shared(one, one.shared(gpus)) for one in predictions for gpus in GPUS_OF_A_MACHINE]
    found += ["", *stacked_tables(SHARED_HEADER, shared, "l" + "r" * (len(SHARED_HEADER) - 1))]
    found += [
        "efficiency: each GPU with such a batch; at least so much, as exchanges are hidden behind the backward pass in part"
    ]
    for one in predictions:
        total = one.device_seconds()
        rows = [_kernel(row, total) for row in one.kernels()]
        rows.append(_kernel(_sum(one), total))
        header = (f"predicted, {one.workload}", *KERNEL_HEADER[1:])
        found += ["", *stacked_tables(header, rows, "l" + "r" * (len(header) - 1))]
    return [*found, "of roofline: the time of a kernel's own bytes and FLOPs at the GPU's best, over what is predicted"]


def as_json(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """All that is predicted, as lists and dictionaries; seconds and bytes."""
    gpu = predictions[0].gpu
    return {
        "nature": "predicted: nothing ran on a GPU",
        "uncertainty": UNCERTAINTY,
        "gpu": dataclasses.asdict(gpu),
        "assumptions": assumptions(gpu),
        "steps": [_as_json(one) for one in predictions],
    }


def _as_json(one: Prediction) -> dict[str, Any]:
    return {
        "workload": str(one.workload),
        **counts(one.operations)._asdict(),
        "predicted_eager_seconds_at_least": one.eager_seconds,
        "host_python_seconds": None,
        "predicted_graph_seconds": one.graph_seconds(),
        "predicted_graph_seconds_tf32": one.tf32_seconds,
        "predicted_pytorch_eager_seconds": one.pytorch_seconds,
        "in_bf16": counts(one.in_bf16.operations)._asdict(),
        "by_columns": _by_columns_as_json(one.by_columns),
        "roofline_seconds": one.roofline,
        "roofline_share": one.roofline_share,
        "on_several_gpus": [one.shared(gpus)._asdict() for gpus in GPUS_OF_A_MACHINE],
        "kernels": [row._asdict() for row in one.kernels()],
    }


def _by_columns_as_json(one: Prediction) -> dict[str, Any]:
    return {**counts(one.operations)._asdict(), "predicted_graph_seconds": one.graph_seconds()}


def _sum(one: Prediction) -> KernelRow:
    """Of all kernels."""
    found, rows = counts(one.operations), one.kernels()
    seconds, roofline = (sum(getattr(row, name) for row in rows) for name in ("seconds", "roofline"))
    work = (found.bytes_read, found.bytes_written, found.product_flops)
    return KernelRow("launch", "total", len(one.operations), *work, seconds, roofline)


def _nbytes(one: Prediction) -> int:
    """Read and written."""
    found = counts(one.operations)
    return found.bytes_read + found.bytes_written


def _step(one: Prediction) -> list[str]:
    found = counts(one.operations)
    return [
        str(one.workload),
        *(f"{count:,}" for count in (found.launches, found.products, found.uploads, found.waits)),
        *(f"{nbytes / 1e6:,.1f}" for nbytes in (found.bytes_read, found.bytes_written)),
        f"{found.product_flops / 1e9:,.2f}",
        f"{_nbytes(one.in_bf16) / 1e6:,.1f}",
        *(f"{one_time * 1e3:.3f}" for one_time in (one.eager_seconds, one.graph_seconds(), one.tf32_seconds)),
        "" if one.pytorch_seconds is None else f"{one.tf32_seconds / one.pytorch_seconds:.2f}",
        f"{one.roofline_share:.2f}",
    ]


def _columns(one: Prediction, by_columns: Prediction) -> list[str]:
    names = [operation.name for operation in one.operations]
    without = sum(names.count(name) for name in WITHOUT_COLUMNS)
    found = [str(one.workload), f"{without:,}", f"{names.count('im2col'):,}"]
    for step in (one, by_columns):
        moved = counts(step.operations)
        found += [f"{(moved.bytes_read + moved.bytes_written) / 1e6:,.1f}", f"{step.graph_seconds() * 1e3:.3f}"]
    return found


def _rule() -> str:
    """Which convolutions gather what they multiply."""
    return (
        f"gather: convolutions with windows of 2 to {MOST_TAPS} taps and at most {MOST_FILTERS} filters a group, in TF32 "
        f"{tensor_cores.MOST_FILTERS}, gather what they multiply, or stage planes of up to {MOST_CHANNELS} channels "
        f"(few_channels_forward) or of filters for each channel (depthwise_forward); others lay it out as columns for cuBLAS "
        f"(im2col, gemm), but for 1x1"
    )


def _shared(one: Prediction, shared: Sharing) -> list[str]:
    return [
        str(one.workload),
        f"{shared.gpus}",
        *(f"{count:,}" for count in (shared.exchanges, shared.launches)),
        f"{shared.bytes_sent / 1e6:,.2f}",
        f"{shared.seconds * 1e6:,.1f}",
        f"{one.graph_seconds() / (one.graph_seconds() + shared.seconds):.2f}",
    ]


def _kernel(row: KernelRow, total: float) -> list[str]:
    return [
        f"{row.name} (product)" if row.kind == "product" else row.name,
        f"{row.calls:,}",
        *(f"{nbytes / 1e6:,.2f}" for nbytes in (row.bytes_read, row.bytes_written)),
        f"{row.flops / 1e9:,.3f}" if row.flops else "",
        f"{row.seconds * 1e6:,.1f}",
        f"{row.seconds / total:.0%}",
        f"{row.roofline / row.seconds:.2f}",
    ]
