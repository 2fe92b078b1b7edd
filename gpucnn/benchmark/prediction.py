"""What a training step asks of a GPU, exactly; and how long it would take there, to some 40 %. No GPU is needed.

The step runs on a GPU that computes nothing, see `gpucnn.testing.untouched_gpu`: what it launches, moves and multiplies is
known to the byte. Time is a model: every operation takes what its bytes or its arithmetic take at the speeds of a data
sheet, or the shortest time of a kernel, and the host is in the way where it launches them one by one.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gpucnn import models
from gpucnn.backend import Array, Device, precision
from gpucnn.backend.group import Exchange
from gpucnn.backend.nccl import NcclGroup
from gpucnn.benchmark import pytorch_eager
from gpucnn.benchmark.gpus import GPU, GPUS
from gpucnn.benchmark.limit import Work, training_step_work
from gpucnn.benchmark.rivals import GPUCNN, Rival
from gpucnn.benchmark.training_step import CLASSES, MODELS, Workload, training_step
from gpucnn.kernels.kernel import KERNELS
from gpucnn.kernels.ways import WITHOUT_COLUMNS, Way, leave_out
from gpucnn.optim.shard_sum import ShardSum
from gpucnn.testing.operation_log import Kind, Operation
from gpucnn.testing.untouched_gpu import untouched_gpu

PREDICTED_MODELS = (*MODELS, "resnet18", "resnet50", "mobilenet_v2")
"""Those of `gpucnn bench`, and three that take too long on a CPU."""

WARM_UP_STEPS = 2
"""Before the step that is looked at: an optimizer's first step makes its buffers."""

UNCERTAINTY = 0.4
"""Relative, of a predicted time; ratios of two of them are better."""

MEMORY_SHARE, PRODUCT_SHARE, TF32_PRODUCT_SHARE, ISSUE_SHARE = 0.9, 0.85, 0.75, 0.7
"""Assumed: what good kernels reach of bandwidth, of FLOPs in large products, and of instructions."""

SLOTS_AN_ELEMENT = 25
"""Instructions for each element of a kernel's largest array, most of them index arithmetic. Assumed for all kernels: the
limit to which `nox -s compile` holds our elementwise ones."""

GATHERED_SHARE = 0.5
"""Of the instructions of a convolution that gathers what it multiplies, those that multiply: `nox -s compile` prints them."""

TILE, SMALLEST_TILE, SPLIT = 128, 16, 256
"""Assumed of cuBLAS: sides of the tile that a multiprocessor works on; the depth from which one product is cut into several."""
SPLIT_SECONDS = 1.5e-6
"""Assumed: to add up what a product was cut into."""


class Counts(NamedTuple):
    """What one training step asks of a GPU. These figures are exact."""

    launches: int
    products: int
    uploads: int
    waits: int
    """Downloads included, which wait as well."""
    bytes_read: int
    bytes_written: int
    product_flops: int


class Sharing(NamedTuple):
    """What a step costs beside, where several GPUs of a machine train, each with a batch of its own."""

    gpus: int
    exchanges: int
    """Launches of NCCL's."""
    launches: int
    """Of our own: sums of what has come."""
    bytes_sent: int
    """By each GPU, to the others."""
    seconds: float
    """Of exchanges and sums, one after the other: none of it hidden behind the backward pass."""


class KernelRow(NamedTuple):
    """All operations of one name in a step."""

    kind: Kind
    name: str
    calls: int
    bytes_read: int
    bytes_written: int
    flops: int
    """Of products, cuBLAS's and our own kernels'; 0 for what is no product."""
    seconds: float
    roofline: float
    """Seconds that bytes and FLOPs alone would take at the GPU's best."""


def step_operations(workload: Workload, name: str = "float32") -> list[Operation]:
    """The operations of a training step, the one that `gpucnn bench` times, with their bytes and FLOPs.

    `name` is that of a `backend.precision`.
    """
    with untouched_gpu() as gpu, precision(name):
        step = training_step(Rival(GPUCNN, "cuda"), workload, Device("cuda"))
        for _ in range(WARM_UP_STEPS):
            step()
        with gpu.operation_log.recorded() as operations:
            step()
    return operations


def counts(operations: Iterable[Operation]) -> Counts:
    """What the operations come to."""
    of_kind: dict[Kind, int] = {"launch": 0, "product": 0, "upload": 0, "download": 0, "synchronize": 0, "exchange": 0}
    read = written = flops = 0
    for operation in operations:
        of_kind[operation.kind] += 1
        read, written = read + operation.read, written + operation.written
        flops += operation.flops if _multiplies(operation) else 0
    waits = of_kind["download"] + of_kind["synchronize"]
    return Counts(of_kind["launch"], of_kind["product"], of_kind["upload"], waits, read, written, flops)


class _FirstOf:
    """The group of a GPU that computes nothing, without the others, which are as this one."""

    def __init__(self, size: int) -> None:
        self.rank, self.size = 0, size

    def gather(self, value: Any) -> list[Any]:
        """What others say of themselves is not known: nothing but this one's value."""
        return [value]

    def exchange(self, sent: Sequence[Array], received: Sequence[Array]) -> Exchange:
        """Never: arrays are on the GPU."""
        raise NotImplementedError

    def abort(self, status: int) -> NoReturn:
        """Never."""
        raise NotImplementedError


def summing_operations(length: int, gpus: int) -> list[Operation]:
    """What the first of some `gpus` is asked for, to add up an array (length,) of float32 from each of them."""
    device = Device("cuda")
    with untouched_gpu() as gpu:
        total = ShardSum(NcclGroup(_FirstOf(gpus), device), gpus, length, np.dtype(np.float32), device)
        for _ in range(WARM_UP_STEPS):
            with gpu.operation_log.recorded() as operations:
                total.add(0)
                total.total()
    return operations


@dataclass(frozen=True)
class Prediction:
    """A training step on a GPU."""

    workload: Workload
    gpu: GPU
    operations: Sequence[Operation]
    needed: Work
    """What any program must do at the least, as `limit` counts it."""

    @classmethod
    def of(cls, workload: Workload, gpu: GPU, operations: Sequence[Operation] | None = None) -> "Prediction":
        """That of `workload`. `operations` are those of `step_operations`, if they are known already."""
        model, shape = models.create(workload.model, CLASSES), models.default_input(workload.model)
        needed = training_step_work(model, shape, workload.batch_size)
        return cls(workload, gpu, step_operations(workload) if operations is None else operations, needed)

    def device_seconds(self, tf32: bool = False) -> float:
        """All operations, one after the other; `tf32`: products on tensor cores."""
        return sum(seconds(operation, self.gpu, tf32) for operation in self.operations)

    def graph_seconds(self, tf32: bool = False) -> float:
        """As one graph, which the host launches at once."""
        return self.gpu.graph_launch + self.device_seconds(tf32)

    @functools.cached_property
    def in_tf32(self) -> "Prediction":
        """The same step in TF32."""
        return replace(self, operations=step_operations(self.workload, "tf32"))

    @functools.cached_property
    def in_bf16(self) -> "Prediction":
        """The same step in bf16."""
        return replace(self, operations=step_operations(self.workload, "bf16"))

    @property
    def tf32_seconds(self) -> float:
        """As one graph in TF32: convolutions are our own on tensor cores, other products cuBLAS's."""
        return self.in_tf32.graph_seconds(tf32=True)

    @property
    def pytorch_seconds(self) -> float | None:
        """PyTorch's eager step, as predicted; None where that was not done."""
        name = next((name for name, gpu in GPUS.items() if gpu == self.gpu), "")
        return pytorch_eager.SECONDS.get(name, {}).get(self.workload)

    @property
    def eager_seconds(self) -> float:
        """Launched one by one, at least: of the host's time it has CuPy's own calls, and not the Python around them."""
        return max(self.device_seconds(), len(self.operations) * self.gpu.eager_call)

    @property
    def roofline(self) -> float:
        """Seconds that the net needs at the least: its bytes, or its multiply-adds in float32, at the GPU's best."""
        return max(self.needed.nbytes / self.gpu.bandwidth, 2 * self.needed.multiply_adds / self.gpu.fp32)

    @property
    def roofline_share(self) -> float:
        """Of the time as a graph: 1 would be the GPU's best."""
        return self.roofline / self.graph_seconds()

    def shared(self, gpus: int) -> Sharing:
        """What the sum of gradients and running statistics over so many GPUs adds to the step."""
        model = models.create(self.workload.model, CLASSES)
        length = sum(one.size for one in (*model.parameters(), *(buffer for _, buffer in model.named_buffers())))
        operations = summing_operations(length, gpus)
        exchanges = [one for one in operations if one.kind == "exchange"]
        sent = sum(_sent(one) for one in exchanges)
        time = sum(seconds(one, self.gpu) for one in operations)
        return Sharing(gpus, len(exchanges), len(operations) - len(exchanges), sent, time)

    @functools.cached_property
    def by_columns(self) -> "Prediction":
        """The same step, all of its convolutions by columns and cuBLAS."""
        with leave_out(Way.FUSED, *WITHOUT_COLUMNS):
            return replace(self, operations=step_operations(self.workload))

    def kernels(self) -> list[KernelRow]:
        """The operations by name, those that take longest first."""
        rows: dict[tuple[Kind, str], KernelRow] = {}
        for operation in self.operations:
            key = operation.kind, operation.name
            before = rows.get(key, KernelRow(*key, 0, 0, 0, 0, 0.0, 0.0))
            rows[key] = KernelRow(
                *key,
                before.calls + 1,
                before.bytes_read + operation.read,
                before.bytes_written + operation.written,
                before.flops + (operation.flops if _multiplies(operation) else 0),
                before.seconds + seconds(operation, self.gpu),
                before.roofline + roofline_seconds(operation, self.gpu),
            )
        return sorted(rows.values(), key=lambda row: -row.seconds)


def seconds(operation: Operation, gpu: GPU, tf32: bool = False) -> float:
    """One operation on `gpu`, as predicted."""
    nbytes = operation.read + operation.written
    if operation.kind in ("upload", "download"):
        return gpu.launch_floor + nbytes / gpu.host_link
    if operation.kind == "exchange":
        return gpu.exchange_floor + _sent(operation) / gpu.peer_link
    if operation.kind == "product":
        arithmetic = _product_seconds(operation, gpu, tf32)
    elif (own := KERNELS.get(operation.name)) is not None and own.clocks is not None:
        arithmetic = _tensor_seconds(operation, gpu)
    elif _multiplies(operation):
        arithmetic = operation.flops / (gpu.fp32 * GATHERED_SHARE * ISSUE_SHARE)
    else:
        arithmetic = operation.flops * SLOTS_AN_ELEMENT / (gpu.slots * ISSUE_SHARE)
    return max(nbytes / (_bandwidth(nbytes, gpu) * MEMORY_SHARE), arithmetic, gpu.launch_floor)


def roofline_seconds(operation: Operation, gpu: GPU) -> float:
    """What its bytes and FLOPs alone would take, at the GPU's best."""
    nbytes = operation.read + operation.written
    if operation.kind in ("upload", "download"):
        return nbytes / gpu.host_link
    if operation.kind == "exchange":
        return _sent(operation) / gpu.peer_link
    return max(nbytes / _bandwidth(nbytes, gpu), (operation.flops if _multiplies(operation) else 0) / gpu.fp32)


def _multiplies(operation: Operation) -> bool:
    """Whether it is a product of matrices, cuBLAS's or a kernel of ours, and its FLOPs those of one."""
    own = KERNELS.get(operation.name)
    return operation.kind == "product" or (own is not None and own.multiply_adds is not None)


def _sent(operation: Operation) -> int:
    """Of an exchange the bytes that go to other GPUs."""
    return operation.detail[1]


def _bandwidth(nbytes: int, gpu: GPU) -> float:
    """That of the cache for what lies there: half of it is taken by others."""
    return gpu.cache_bandwidth if nbytes < gpu.cache_bytes / 2 else gpu.bandwidth


def _product_seconds(operation: Operation, gpu: GPU, tf32: bool) -> float:
    """A product's arithmetic, slower where tiles are not filled, multiprocessors idle in the last wave, or tiles are small."""
    batch, rows, columns, depth = operation.detail
    tile_rows, tile_columns = _tile(rows), _tile(columns)
    tiles = batch * math.ceil(rows / tile_rows) * math.ceil(columns / tile_columns)
    cuts = max(1, min(math.ceil(depth / SPLIT), gpu.multiprocessors // tiles))
    waves = math.ceil(tiles * cuts / gpu.multiprocessors)
    busy = tiles * cuts / (waves * gpu.multiprocessors)
    filled = batch * rows * columns / (tiles * tile_rows * tile_columns)
    reuse = math.sqrt(tile_rows * tile_columns) / TILE
    rate = max(gpu.fp32 * PRODUCT_SHARE, gpu.tf32 * TF32_PRODUCT_SHARE if tf32 else 0)
    return operation.flops / (rate * busy * filled * reuse) + (SPLIT_SECONDS if cuts > 1 else 0.0)


def _tensor_seconds(operation: Operation, gpu: GPU) -> float:
    """A convolution's on tensor cores: the clocks it was counted to take, if not the arithmetic takes longer.

    Multiprocessors idle in the last wave of blocks.
    """
    blocks, clocks = operation.detail
    waves = math.ceil(blocks / gpu.multiprocessors)
    return max(clocks / blocks * waves / gpu.clock, operation.flops / (gpu.tf32 * TF32_PRODUCT_SHARE))


def _tile(size: int) -> int:
    """The side of a tile: a power of two that holds `size`, within limits."""
    return min(TILE, max(SMALLEST_TILE, 1 << (size - 1).bit_length()))
