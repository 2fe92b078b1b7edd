"""For tests, ours and those of people who write kernels: a GPU without a GPU, oracles, and checks.

- `emulated_gpu()`: inside, "cuda" works without a GPU. CuPy's part is played by a strict stand-in, and CUDA kernels run
  on the `emulator`, with checks of every memory access.
- `gradcheck`: gradients against central differences. `oracles`: what operations should give, by naive loops.
- `windows` (import it by itself, it needs Hypothesis): strategies that draw windows.
- `nvrtc` (likewise by itself): compiles kernels for every GPU architecture, without a GPU.
"""

from gpucnn.autograd import gradcheck as gradcheck
from gpucnn.checks import public_names as _public_names
from gpucnn.testing import oracles as oracles
from gpucnn.testing.emulated_gpu import emulated_gpu as emulated_gpu

__all__ = _public_names(globals(), "gradcheck")


def __dir__() -> list[str]:
    return __all__
