"""What tests of compiled loops share."""

import pytest

from gpucnn.kernels import ways


@pytest.fixture
def needs_llvmlite(request: pytest.FixtureRequest) -> None:
    """Skips a test where loops cannot be compiled, unless --require-jit makes that a failure."""
    if missing := ways.missing():
        if request.config.getoption("--require-jit"):
            pytest.fail(f"{missing}, and --require-jit was given")
        pytest.skip(missing)
