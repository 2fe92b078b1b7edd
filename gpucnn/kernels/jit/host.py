"""The processor that code is made for."""

import functools
from typing import NamedTuple

LANES = {"avx512f": 16, "fma": 8, "neon": 4}
"""How many floats a vector holds, by the feature of the processor that it takes, the widest first."""


class Host(NamedTuple):
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

    def positions_per_tile(self, filters: int) -> int:
        """How many positions a tile of so many filters should have, with a vector for each of both."""
        return max(1, self._registers * 3 // 4 // filters)

    def filters_per_gradient_tile(self, kernel_columns: int) -> int:
        """How many filters a tile of the weights' gradient should have: it has a vector for each of them and each column."""
        return max(1, min(8, (self._registers - 4) // kernel_columns))

    @property
    def _registers(self) -> int:
        return 16 if self.lanes == LANES["fma"] else 32


@functools.cache
def host() -> Host | None:
    """This machine's processor, or None where no kernel was ever tried on its kind.

    Raises ImportError without llvmlite.
    """
    from llvmlite import binding

    features, triple = binding.get_host_cpu_features(), binding.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        features["neon"] = True  # all of them have it; on macOS LLVM cannot tell, and the map is empty
    for name, lanes in LANES.items():
        if features.get(name) and (name != "avx512f" or features.get("avx512vl")):
            return Host(triple, binding.get_host_cpu_name(), features.flatten(), lanes)
    return None
