"""What a training step asks of a GPU, net by net. `python -m tests.benchmark.gpu_step_counts` prints what it is now, as JSON.

`gpu_step_counts.json` beside this has what it was when a person last looked at it and agreed.
"""

import json
from pathlib import Path
from typing import TypeAlias

from gpucnn.benchmark.prediction import counts, step_operations
from gpucnn.benchmark.training_step import Workload

AGREED = Path(__file__).with_suffix(".json")
COMMAND = "python -m tests.benchmark.gpu_step_counts > tests/benchmark/gpu_step_counts.json"
WORKLOADS = (
    *(Workload(model, size) for model in ("lenet5", "vgg_mini", "resnet20") for size in (64, 256)),
    Workload("resnet18", 64),
    Workload("resnet50", 64),
)

Figures: TypeAlias = dict[str, dict[str, int]]


def present() -> Figures:
    """The figures of the code as it stands."""
    return {str(workload): figures_of(workload) for workload in WORKLOADS}


def figures_of(workload: Workload) -> dict[str, int]:
    """Those of one net."""
    return counts(step_operations(workload))._asdict()


def agreed() -> Figures:
    """The figures of the file."""
    figures: Figures = json.loads(AGREED.read_text())
    return figures


def changes(before: Figures, after: Figures) -> list[str]:
    """A line for each figure that is another one."""
    return [
        f"{net}: {name} {'was ' + format(before[net][name], ',') if net in before else 'is new'}, is {value:,}"
        for net, figures in after.items()
        for name, value in figures.items()
        if before.get(net, {}).get(name) != value
    ] + [f"{net}: is gone" for net in before.keys() - after.keys()]


if __name__ == "__main__":
    print(json.dumps(present(), indent=1))
