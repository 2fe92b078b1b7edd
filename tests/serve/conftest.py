"""What tests of the service share: a run, and what it says of some digits."""

from pathlib import Path

import pytest

import gpucnn
from tests.cli.small_runs import save_digit, train
from tests.serve.good_client import Known


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def known(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("digits")
    files = [save_digit(folder / f"{place}.png", place) for place in range(10)]
    answers = gpucnn.load(run).predict(files)
    return Known([file.read_bytes() for file in files], [dict(answer) for answer in answers])
