"""Runs on images that are packed into Parquet files or .npy arrays: they resume to the bit, and from what they began with alone."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn.errors import DataError, RunError
from gpucnn.training import resume
from tests.data.parquet_files import write
from tests.runs.tiny_run import contents, go_on, tiny_names, train

SETTINGS: dict[str, Any] = {"mode": "grey", "augment": ("flip",), "workers": 2, "checkpoint_every": 2}


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with tiny_names():
        yield


def parquet(folder: Path, seed: int = 1) -> Path:
    draw = np.random.default_rng(seed)
    for part, count in (("train", 40), ("test", 10)):
        rows = []
        for place in range(count):
            content = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(content, "PNG")
            rows.append({"bytes": content.getvalue(), "path": f"{place}.png"})
        write(folder / "data" / f"{part}-00000-of-00001.parquet", rows, draw.permutation(count) % 3, ("a", "b", "c"), 7)
    return folder


def npy(folder: Path, seed: int = 1) -> Path:
    draw = np.random.default_rng(seed)
    for part, count in (("train", 40), ("test", 10)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / part / "images.npy", draw.integers(0, 256, (count, 8, 8), np.uint8))
        np.save(folder / part / "labels.npy", draw.permutation(count) % 3)
    return folder


@pytest.mark.parametrize("packed", [parquet, npy])
def test_a_run_that_is_stopped_in_an_epoch_ends_as_one_that_is_not(tmp_path: Path, packed: Any) -> None:
    place = str(packed(tmp_path / "images"))
    whole = train(tmp_path / "whole", data=place, **SETTINGS)
    stopped = train(tmp_path / "stopped", until=8, data=place, **SETTINGS)  # five batches an epoch
    go_on(resume(stopped.path))
    assert contents(stopped) == contents(whole)


@pytest.mark.parametrize(
    ("packed", "name"), [(parquet, "test-00000-of-00001.parquet/row 0"), (npy, "test/images.npy/0.npy")]
)
def test_other_images_are_refused(tmp_path: Path, packed: Any, name: str) -> None:
    stopped = train(tmp_path / "run", until=8, data=str(packed(tmp_path / "images")), **SETTINGS)
    packed(tmp_path / "images", seed=2)
    with pytest.raises((RunError, DataError), match=rf"50 images have changed.*{name}.*begin a new run"):
        resume(stopped.path)
