"""The processor that code is made for."""

import functools
import os
from typing import Any, NamedTuple

from gpucnn.errors import LaunchError

LANES = {"avx512f": 16, "fma": 8, "neon": 4}
"""How many floats a vector holds, by the feature of the processor that it takes, the widest first."""

AVX2_VARIABLE = "GPUCNN_AVX2"
"""Environment variable: 1 for what a processor without AVX-512 would do, in this process and those that it starts."""


class Processor(NamedTuple):
    """A processor: LLVM's name for it and its features, and how many floats its vectors hold."""

    triple: str
    processor: str
    features: str
    lanes: int

    @property
    def filters_per_tile(self) -> int:
        """How many filters a tile of a convolution should have: with two vectors each, its sums must fit the registers.

        AVX2 has 16 of them, the others 32.
        """
        return 4 if self._registers == 16 else 8

    def holds(self, vectors: int) -> bool:
        """Whether this number of vectors fits the registers, with some to spare for the factors of products."""
        return vectors <= self._registers - self._registers // 16

    def positions_per_tile(self, filters: int) -> int:
        """How many positions a tile of `filters` filters should have: a sum for each pair of them, and pixels to multiply."""
        most = self._registers * 3 // 4 // filters
        return max((p for p in range(1, most + 1) if self.holds(p * filters + p)), default=1)

    def filters_per_gradient_tile(self, kernel_columns: int, others: int = 0) -> int:
        """How many filters a tile of the weights' gradient should have, with a sum for each of them and each column of taps.

        Beside the sums it must hold a vector of each filter or of each column, and `others`.
        """
        fitting = (f for f in range(1, 9) if self.holds(f * kernel_columns + min(f, kernel_columns) + others))
        return max(fitting, default=1)

    def positions_at_once(self, kernel_columns: int) -> int:
        """How many positions the weights' gradient by images should write out one by one: LLVM mixes up what they need."""
        return 4 if self._registers == 32 and kernel_columns <= 5 else 2

    @property
    def _registers(self) -> int:
        return 16 if self.lanes == LANES["fma"] else 32


def take_avx512_away(features: dict[str, Any]) -> None:
    """Leave a processor that has AVX-512 the features that one without it has."""
    for name in features:
        if name.startswith(("avx512", "avx10", "evex512")):
            features[name] = False


@functools.cache
def supported_processor() -> Processor | None:
    """This machine's processor, or None where no loop was ever tried on its kind.

    With the environment variable GPUCNN_AVX2=1 one without AVX-512. Raises ImportError without llvmlite.
    """
    from llvmlite import binding

    features, triple = binding.get_host_cpu_features(), binding.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        features["neon"] = True  # all of them have it; on macOS LLVM cannot tell, and the map is empty
    if os.environ.get(AVX2_VARIABLE) == "1":
        take_avx512_away(features)
    for name, lanes in LANES.items():
        if features.get(name) and (name != "avx512f" or features.get("avx512vl")):
            return Processor(triple, binding.get_host_cpu_name(), features.flatten(), lanes)
    return None


def processor() -> Processor:
    """This machine's processor. Raises LaunchError where no loop was ever tried on its kind."""
    found = supported_processor()
    if found is None:
        raise LaunchError("compiled loops need a processor with AVX-512, AVX2 with FMA, or NEON")
    return found
