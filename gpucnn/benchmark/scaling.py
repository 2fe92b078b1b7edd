"""How well more GPUs would share a batch: a model, of which nothing was measured. No GPU and no network is needed.

A step on P processes takes the step of the slowest, and what of the exchange it does not hide. One process is one GPU with a
batch of its own, so that more processes make a larger batch; efficiency is the step of one alone over that of P.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gpucnn import models
from gpucnn.benchmark.prediction import UNCERTAINTY, Prediction
from gpucnn.benchmark.training_step import CLASSES
from gpucnn.text_table import stacked_tables

ENOUGH = 0.9
"""The efficiency below which the tables say what to do."""

JITTER = 0.01
"""Assumed: standard deviation of a step, relative; all wait for the slowest of P."""

BACKWARD_SHARE = 0.6
"""Assumed: of a step's time, that of the backward pass."""

EARLY_SHARE = 0.75
"""Of the gradients, those that are exchanged while the rest is computed: the end of the flat buffer."""

EARLY_FINAL = {"lenet5": 0.12, "resnet20": 0.18, "vgg_mini": 0.02, "mobilenet_v2": 0.66}
"""Measured on a CPU: the share of the backward pass after which these are final."""

ASSUMED_EARLY_FINAL = 0.2
"""That of other models."""

BATCHES = [1 << power for power in range(3, 14)]
"""Images a GPU among which one is looked for that is enough: 8 to 8,192."""


class Link(NamedTuple):
    """A connection of a process to others."""

    bandwidth: float
    """Bytes a second, one way."""
    latency: float
    """Seconds until the first byte of an exchange has come."""
    message: float
    """Seconds that each further message of it takes, however short."""


class Cluster(NamedTuple):
    """Processes in nodes."""

    title: str
    processes: int
    a_node: int
    inside: Link
    """Within a node."""
    between: Link
    """Between nodes, for each process."""


NVLINK = Link(450e9, 5e-6, 1e-6)  # data sheet of H100 and H200 SXM: 900 GB/s both ways; times assumed
NETWORK = Link(50e9, 10e-6, 1e-6)  # 400 Gbit/s for each GPU; times assumed
ETHERNET = Link(1.1e9, 30e-6, 5e-6)  # 10 Gbit/s; times assumed
CLUSTERS = (
    Cluster("8 GPUs", 8, 8, NVLINK, NETWORK),
    Cluster("64 x 8", 512, 8, NVLINK, NETWORK),
    Cluster("1,024", 1024, 8, NVLINK, NETWORK),
)
CPU_PAYLOAD, CPU_STEP, CPU_JITTER = "resnet20", 0.5, 0.03
"""The model on CPUs; seconds of its step with 64 images a process, as two cores take, and their jitter: assumed."""
CPU_NODES = (2, 8, 64)

Way = Callable[[float, Cluster], float]
"""Seconds of an exchange, by the bytes of a process's payload."""


def direct(nbytes: float, cluster: Cluster) -> float:
    """What gpucnn does: each process sends each other one its slice, adds up its own, and sends the sum to all."""
    processes, here = cluster.processes, min(cluster.a_node, cluster.processes)
    far = processes - here
    bytes_each = nbytes / processes
    inside = (here - 1) * (cluster.inside.message + bytes_each / cluster.inside.bandwidth)
    between = far * (cluster.between.message + bytes_each / cluster.between.bandwidth)
    return 2 * ((cluster.between if far else cluster.inside).latency + max(inside, between))


def two_level(nbytes: float, cluster: Cluster) -> float:
    """Not built: slices within the node, then each GPU's slice between the nodes, and back. The fixed tree would allow it."""
    here = min(cluster.a_node, cluster.processes)
    nodes = cluster.processes // here
    inside = direct(nbytes, cluster._replace(processes=here))
    across = Cluster("", nodes, 1, cluster.inside, cluster.between)
    return inside + (direct(nbytes / here, across) if nodes > 1 else 0.0)


def ring(nbytes: float, cluster: Cluster) -> float:
    """What it is compared with, a flat ring: 2 (P - 1) hops, each of which waits for the one before."""
    processes = cluster.processes
    link = cluster.inside if processes <= cluster.a_node else cluster.between
    return 2 * (processes - 1) * (link.latency + nbytes / processes / link.bandwidth)


class Efficiency(NamedTuple):
    """Of P processes, 1 at the best."""

    plain: float
    """Without overlap."""
    overlapped: float


def efficiency(
    step: float,
    nbytes: float,
    cluster: Cluster,
    way: Way,
    early_final: float = ASSUMED_EARLY_FINAL,
    jitter: float = JITTER,
) -> Efficiency:
    """That of a step of so many seconds on one process, with a payload of `nbytes`; predicted.

    `early_final`: the share of the backward pass after which EARLY_SHARE of the payload can go.
    """
    slowest = step * (1 + jitter * math.sqrt(2 * math.log(cluster.processes)))
    early, late = way(EARLY_SHARE * nbytes, cluster), way((1 - EARLY_SHARE) * nbytes, cluster)
    hidden = BACKWARD_SHARE * step * (1 - early_final)
    exposed = max(0.0, early - hidden) + late
    whole = way(nbytes, cluster)
    return Efficiency(step / (slowest + whole), step / (slowest + min(whole, exposed)))


def payload_bytes(model: str) -> int:
    """What each process gives to a step, in float32: gradients and running statistics."""
    made = models.create(model, CLASSES)
    return 4 * (made.parameter_count() + sum(int(buffer.array.size) for _, buffer in made.named_buffers()))


def lines(predictions: Sequence[Prediction]) -> list[str]:
    """The tables, of the models and batch sizes that were predicted for one GPU. Each says that it is a prediction."""
    step_of = {(one.workload.model, one.workload.batch_size): one.graph_seconds() for one in predictions}
    names = list(dict.fromkeys(name for name, _ in step_of))
    nbytes = {name: payload_bytes(name) for name in names}
    header = ["predicted", "ms", "MB", *_columns()]
    rows = [[*_name(name, batch, seconds, nbytes[name]), *_cells(name, seconds, nbytes[name])]
            for (name, batch), seconds in step_of.items()]  # fmt: skip
    found = [
        f"PREDICTED for {predictions[0].gpu.title}: nothing ran on a GPU or over a network; steps as graphs, +-{UNCERTAINTY:.0%}",
        "efficiency without/with overlap, images a GPU; gpucnn does direct; two-level is not built; ring is to compare with",
        *stacked_tables(header, rows, "l" + "r" * (len(header) - 1)),
        "",
        f"predicted: images a GPU from which efficiency is {ENOUGH} or more, with overlap; in brackets those of a whole batch",
    ]
    columns = _columns()
    rows = [[name, *_enough(name, _affine(name, step_of), nbytes[name])] for name in names]
    found += [*stacked_tables(["predicted", *columns], rows, "l" + "r" * len(columns)), ""]
    return [*found, *_cpu_lines()]


def _columns() -> list[str]:
    return [f"{cluster.title} {name}" for cluster, name, _ in _ways()]


def _ways() -> Iterable[tuple[Cluster, str, Way]]:
    """The columns: two levels are one within a node."""
    for cluster in CLUSTERS:
        yield cluster, "direct", direct
        if cluster.processes > cluster.a_node:
            yield cluster, "two-level", two_level
        yield cluster, "ring", ring


def _name(name: str, batch: int, seconds: float, nbytes: int) -> list[str]:
    return [f"{name} {batch}", f"{seconds * 1e3:.2f}", f"{nbytes / 1e6:.2f}"]


def _cells(name: str, seconds: float, nbytes: int) -> list[str]:
    found = [efficiency(seconds, nbytes, cluster, way, _early(name)) for cluster, _, way in _ways()]
    return [f"{one.plain:.2f}/{one.overlapped:.2f}" for one in found]


def _early(name: str) -> float:
    return EARLY_FINAL.get(name, ASSUMED_EARLY_FINAL)


def _affine(name: str, step_of: dict[tuple[str, int], float]) -> Callable[[int], float]:
    """Seconds of a step by its images: through the smallest and the largest batch, or in proportion to the only one."""
    known = sorted((batch, seconds) for (model, batch), seconds in step_of.items() if model == name)
    (few, short), (many, long) = known[0], known[-1]
    slope = long / many if few == many else (long - short) / (many - few)
    return lambda batch: max(long + slope * (batch - many), short * min(1.0, batch / few))


def _enough(name: str, step: Callable[[int], float], nbytes: int) -> list[str]:
    found = []
    for cluster, _, way in _ways():
        batches = (
            batch for batch in BATCHES
            if efficiency(step(batch), nbytes, cluster, way, _early(name)).overlapped >= ENOUGH
        )  # fmt: skip
        batch = next(batches, None)
        found.append(f"over {BATCHES[-1]:,}" if batch is None else f"{batch:,} ({batch * cluster.processes:,})")
    return found


def _cpu_lines() -> list[str]:
    """CPU nodes over 10 Gbit/s."""
    rows = []
    for nodes in CPU_NODES:
        cluster = Cluster("", nodes, 1, ETHERNET, ETHERNET)
        one = efficiency(CPU_STEP, payload_bytes(CPU_PAYLOAD), cluster, direct, _early(CPU_PAYLOAD), CPU_JITTER)
        rows.append([f"{nodes} nodes", f"{one.plain:.2f}/{one.overlapped:.2f}"])
    return [
        f"predicted: {CPU_PAYLOAD} on CPU nodes over 10 Gbit/s, {CPU_STEP} s a step, jitter {CPU_JITTER:.0%}",
        *stacked_tables(["predicted", "efficiency"], rows, "lr"),
    ]
