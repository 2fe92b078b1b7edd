"""Which CuPy is installed, found without importing it, and the commands that mend it: for `gpucnn doctor`."""

import functools
import importlib.metadata
import importlib.util
import re

from gpucnn.backend import driver

_DISTRIBUTION = re.compile(r"cupy|cupy-cuda(\d\d)\w*|cupy-rocm[\w-]*|amd-cupy")


class Installation:
    """What is installed, and the commands that mend it."""

    @functools.cached_property
    def driver_cuda(self) -> int:
        """See `driver.newest_cuda`."""
        return driver.newest_cuda()

    @functools.cached_property
    def distributions(self) -> dict[str, str]:
        """The version of every installed distribution that brings a package cupy."""
        complete = [item for item in importlib.metadata.distributions() if item.metadata and item.metadata["Name"]]
        versions = {re.sub(r"[-_.]+", "-", item.metadata["Name"]).lower(): item.version for item in complete}
        return {name: versions[name] for name in sorted(versions) if _DISTRIBUTION.fullmatch(name)}

    @functools.cached_property
    def has_cupy(self) -> bool:
        if self.distributions:
            return True
        spec = importlib.util.find_spec("cupy")
        return spec is not None and spec.origin is not None  # a folder of that name without a module has none

    @property
    def wheel_cuda(self) -> int:
        """The CUDA major version that the only distribution was built for; 0 if its name tells none."""
        match = _DISTRIBUTION.fullmatch(next(iter(self.distributions))) if len(self.distributions) == 1 else None
        return int(match[1] or 0) if match else 0

    @property
    def install(self) -> str:
        """What installs CuPy for the driver there is."""
        return f'pip install "gpucnn[{"cuda12" if self.driver_cuda // 1000 == 12 else "cuda13"}]"'

    @property
    def reinstall(self) -> str:
        """What puts the right CuPy in place of all there is."""
        return f"pip uninstall -y {' '.join(self.distributions or ['cupy'])}, then {self.install}"

    @property
    def add_libraries(self) -> str:
        """What brings the CUDA libraries that the installed CuPy needs."""
        if len(self.distributions) > 1:
            return self.reinstall
        if not self.wheel_cuda:
            return "install the CUDA toolkit that this CuPy was built for"
        return f'pip install "{next(iter(self.distributions))}[ctk]"'
