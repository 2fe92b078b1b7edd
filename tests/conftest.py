"""Fixtures that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from gpucnn import data

# The same examples every time, and no limit on how long a slow or busy machine takes for one.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def image_folder() -> Path:
    """The folder of the large data sets, beside the checkout; tests that need it skip where it is not there."""
    folder = Path(os.environ.get("GPUCNN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder} with mnist/ and cifar-10-batches-bin/; name it with GPUCNN_TEST_DATA")
    return folder


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh current folder, so that runs/ and data/ are looked for there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def digits() -> data.Splits:
    return data.load("digits", image_size=32)
