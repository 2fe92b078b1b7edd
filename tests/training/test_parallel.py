"""A training leaves the same bytes on any number of processes, and on one with one shard those that it always had."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend.group import SingleProcess
from gpucnn.data import DataLoader
from gpucnn.kernels import ways
from gpucnn.layers import BatchNorm2d, Dropout, Flatten, Linear, Sequential
from gpucnn.optim import SGD
from gpucnn.optim.clip import clip_gradient_norm
from gpucnn.training import Trainer
from gpucnn.training.sharding import Sharding
from tests.backend.thread_group import on_ranks
from tests.training.parallel_states import EPOCHS, PROCESSES, SHARDS, TRAININGS, alone, images, state_hash, trainer

ROOT = Path(__file__).parents[2]


def told(size: int, backends: list[str]) -> list[str]:
    """What so many processes of MPI print, without their number."""
    pytest.importorskip("mpi4py")
    program = Path(sys.executable).with_name("mpiexec")
    command = [str(program), "-n", str(size), sys.executable, "-m", "tests.training.parallel_states", *backends]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GPUCNN_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_threads_as_processes_leave_the_bytes_of_one() -> None:
    """A sample; `pytest --parallel` has all, with MPI."""
    with ways.use("numpy"):
        expected = alone("resnet20", "cpu")
        assert on_ranks(3, lambda group: state_hash("resnet20", "cpu", group)) == [expected] * 3


@pytest.mark.sample(0)
def test_processes_of_mpi_leave_the_bytes_of_one() -> None:
    with ways.use("numpy"):
        expected = [f"numpy {name} 3 {alone(name, 'cpu')}" for name in TRAININGS]
    assert told(3, ["numpy"]) == expected


def test_the_bytes_are_those_of_the_shards() -> None:
    """Else equal hashes would say little."""
    with ways.use("numpy"):
        assert len({alone("resnet20", "cpu", shards) for shards in (1, SHARDS)}) == 2


def test_shards_change_roundings_alone_where_no_batch_norm_follows_another_layer() -> None:
    """Masks, means over uneven and empty shards, and the mean of the running means are those of the whole batch."""

    def trained(shards: int) -> dict[str, np.ndarray]:
        model = Sequential(Dropout(0.3), BatchNorm2d(2), Flatten(), Linear(18, 10))
        plain = Sequential(Dropout(0.3), Flatten(), Linear(18, 10))
        found = {}
        for name, one in (("normed", model), ("plain", plain)):
            draw = np.random.default_rng(0)
            one.load_state_dict(
                {key: draw.uniform(0.1, 1, array.shape).astype(array.dtype) for key, array in one.state_dict().items()}
            )
            loader = DataLoader(images(13, (2, 3, 3), 2), 11, shuffle=True, seed=1)  # 11 images, then 2
            Trainer(one, SGD(one.parameters(), 0.1), loader, sharding=Sharding(shards)).fit(2)
            found |= {f"{name} {key}": value for key, value in one.state_dict().items()}
        return {key: found[key] for key in found if key.startswith("plain") or key.endswith("running_mean")}

    with ways.use("numpy"):
        whole, cut = trained(1), trained(SHARDS)
    assert "normed 1.running_mean" in whole
    for key, array in whole.items():
        assert np.isfinite(array).all()
        np.testing.assert_allclose(cut[key], array, rtol=2e-5, atol=2e-6, err_msg=key)


def test_one_shard_is_the_plain_loop() -> None:
    with ways.use("numpy"):
        one = trainer("resnet20", "cpu", Sharding(1, SingleProcess()), accumulate=1)
        one.fit(EPOCHS)
        plain = trainer("resnet20", "cpu", None)
        model, average = plain.model, plain.average
        lookahead = plain.lookahead
        assert average is not None
        assert lookahead is not None
        for epoch in range(EPOCHS):
            for images, labels in plain.train_loader.batches(epoch):
                plain.optimizer.zero_grad()
                F.cross_entropy(model(Tensor(images)), labels).backward()
                clip_gradient_norm(model.parameters(), 1.0)
                plain.optimizer.step()
                average.update()
                lookahead.step()
        expected, found = model.state_dict(), one.model.state_dict()
        assert list(expected) == list(found)
        assert [name for name in expected if expected[name].tobytes() != found[name].tobytes()] == []
        assert all(np.isfinite(array).all() for array in found.values())


@pytest.fixture
def wanted(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--parallel"):
        pytest.skip("give --parallel, or run nox -s parallel")


@pytest.mark.usefixtures("wanted")
@pytest.mark.parametrize("name", ["numpy", "jit", "emulated"])
def test_every_backend_on_every_number_of_processes(name: str, report: Callable[[str], None]) -> None:
    rows = [line.split() for size in PROCESSES for line in told(size, [name])]
    for row in rows:
        report(" ".join(row))
    assert [(row[1], int(row[2])) for row in rows] == [(one, size) for size in PROCESSES for one in TRAININGS]
    for training in TRAININGS:
        assert len({row[3] for row in rows if row[1] == training}) == 1
