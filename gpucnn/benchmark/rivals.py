"""What a benchmark sets side by side: gpucnn and PyTorch, each as it can be used."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

from gpucnn.backend import Device
from gpucnn.benchmark import pytorch
from gpucnn.errors import ArgumentError
from gpucnn.kernels.ways import MODES, missing, use

P = ParamSpec("P")
T = TypeVar("T")

GPUCNN, PYTORCH = "gpucnn", "PyTorch"
CHANNELS_LAST = "channels_last"
RECORDED = {"jit": "jit captured", "cuda": "cuda graph"}
"""What our variants are called whose steps are recorded and replayed, by that without."""


class Rival(NamedTuple):
    """A library, and how it is used.

    gpucnn's are "numpy" and "jit" on a CPU and "cuda" on a GPU; "jit captured" and "cuda graph" replay recorded steps. PyTorch's are "eager", as most people write it, and
    "channels_last": that memory format and the fused optimizer, the fastest that it offers without compiling a model.
    """

    library: str
    variant: str

    def __str__(self) -> str:
        return f"{self.library} {self.variant}"

    @property
    def ours(self) -> bool:
        """Whether it is gpucnn's."""
        return self.library == GPUCNN

    @property
    def is_recorded(self) -> bool:
        """Whether its steps are recorded and replayed."""
        return self.variant in RECORDED.values()

    @property
    def way(self) -> str:
        """How it computes."""
        return self.variant.partition(" ")[0]

    @classmethod
    def of(cls, text: str) -> "Rival":
        """The rival whose `str` is `text`."""
        library, _, variant = text.partition(" ")
        return cls(library, variant)


def rivals(device: Device, cpu_modes: Sequence[str] = ()) -> list[Rival]:
    """All rivals on `device`: ours, and PyTorch's where it works there.

    `cpu_modes`: which of "numpy" and "jit" to take on a CPU; empty for all that work. Raises ArgumentError for "jit" where
    loops cannot be compiled.
    """
    if device.kind == "cpu":
        problem = missing()
        if problem and "jit" in cpu_modes:
            raise ArgumentError(f"jit was asked for, but {problem}")
        modes: Sequence[str] = cpu_modes or ([mode for mode in MODES[1:] if mode == "numpy" or not problem])
    else:
        modes = ["cuda"]
    variants = [one for mode in dict.fromkeys(modes) for one in (mode, RECORDED.get(mode)) if one]
    ours = [Rival(GPUCNN, variant) for variant in variants]
    if pytorch.missing(device):
        return ours
    return [*ours, Rival(PYTORCH, "eager"), Rival(PYTORCH, CHANNELS_LAST)]


def computing(rival: Rival, function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which computes on the CPU as `rival` does."""
    if rival.way not in MODES:
        return function

    def run(*arguments: P.args, **options: P.kwargs) -> T:
        with use(rival.way):
            return function(*arguments, **options)

    return run
