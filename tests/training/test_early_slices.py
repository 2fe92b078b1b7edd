"""Slices of the payload that are sent while the backward pass runs: the bits are those of one process, and they do go early."""

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from gpucnn import data, layers, optim
from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend.group import Group, SingleProcess
from gpucnn.errors import OutOfMemoryError
from gpucnn.kernels.compiler.recording import CallList
from gpucnn.kernels.ways import use
from gpucnn.optim.shard_sum import ShardSum
from gpucnn.testing import emulated_gpu
from gpucnn.training import Trainer, shard_payload
from gpucnn.training.sharded_step import ShardedStep
from gpucnn.training.sharding import Sharding
from tests.backend.thread_group import on_ranks
from tests.backends import Backend

SHARDS = 4
ROOT = Path(__file__).parents[2]


class Tied(layers.Layer):
    """One weight is used twice, and another one never."""

    def __init__(self) -> None:
        self.first, self.unused, self.second = layers.Linear(64, 64), layers.Linear(5, 7), layers.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.first(F.flatten(x))))


def network() -> layers.Layer:
    return layers.Sequential(
        layers.Conv2d(1, 4, 3, padding=1), layers.BatchNorm2d(4), layers.ReLU(), layers.Conv2d(4, 8, 3), layers.ReLU(),
        layers.Flatten(), layers.Linear(288, 4), layers.ReLU(), layers.Linear(4, 3),
    )  # fmt: skip


def frozen() -> layers.Layer:
    model = network()
    model[3].requires_grad_(False)
    return model


def checkpointed() -> layers.Layer:
    return layers.Sequential(*(layers.Checkpoint(one) if isinstance(one, layers.Linear) else one for one in network()))


def images() -> data.ArrayDataset:
    """Three batches of twelve, and one of two, so that two of its shards have none."""
    draw = np.random.default_rng(0)
    return data.ArrayDataset(draw.standard_normal((38, 1, 8, 8)).astype(np.float32), draw.integers(0, 3, 38))


def groups(model: layers.Layer) -> list[dict[str, Any]]:
    """Weights decay, biases do not: two flat buffers."""
    parameters = [one for one in model.parameters() if one.requires_grad]
    return [
        {"params": [one for one in parameters if len(one.shape) > 1]},
        {"params": [one for one in parameters if len(one.shape) == 1], "weight_decay": 0.0},
    ]


def trainer(group: Group, make: Callable[[], layers.Layer] = network, several: bool = False, **options: Any) -> Trainer:
    model = make()
    optimizer = optim.SGD(groups(model) if several else list(model.parameters()), 0.05, 0.9, weight_decay=1e-3)
    loader = data.DataLoader(images(), 12, shuffle=True, seed=3)
    return Trainer(model, optimizer, loader, sharding=Sharding(SHARDS, group), **options)


def trained(group: Group, cuts: tuple[float, ...], **options: Any) -> dict[str, bytes]:
    one = trainer(group, **options)
    assert isinstance(one.training_step, ShardedStep)
    one.training_step._payload.cuts = cuts
    one.fit(1)
    arrays, _ = one.state()
    assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"make": Tied},
        {"make": frozen, "accumulate": 2},
        {"make": checkpointed},
        {"several": True, "clip_norm": 1.0},
    ],
    ids=["plain", "tied", "frozen", "checkpoint", "two buffers"],
)
def test_the_bytes_are_those_of_one_process(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_payload, "LEAST_BYTES", 0)
    with use("jit"):  # of all threads
        whole = trained(SingleProcess(), (), **options)
        for size, cuts in ((2, shard_payload.CUTS), (3, (0.9, 0.5, 0.0))):
            for found in on_ranks(size, functools.partial(trained, cuts=cuts, **options)):
                assert found == whole


@pytest.mark.parametrize("way", ["numpy", "jit"])
def test_they_are_sent_before_the_first_layers_gradient_is_there(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_payload, "LEAST_BYTES", 0)
    early: list[tuple[int, int, int, int]] = []
    in_replays: list[int] = []
    replaying: set[int] = set()
    add, replay = ShardSum.add, CallList.replay

    def watched(self: CallList) -> None:
        replaying.add(threading.get_ident())
        replay(self)
        replaying.discard(threading.get_ident())

    def spied(self: ShardSum, shard: int, start: int = 0, stop: int | None = None) -> None:
        add(self, shard, start, stop)
        if threading.get_ident() in replaying:
            in_replays.append(start)
        if shard == self.own[-1]:
            early.append((self.group.rank, shard, start, self.length if stop is None else stop))

    def work(group: Group) -> tuple[int, int]:
        one = trainer(group)
        ended: list[int] = []

        def backward(loss: Tensor) -> None:
            ShardedStep.backward(one.training_step, loss)
            ended.append(len([call for call in early if call[0] == group.rank]))

        monkeypatch.setattr(one.training_step, "backward", backward)
        one.fit(1)
        return one.training_step.recorder.recordings, ended[1]

    monkeypatch.setattr(ShardSum, "add", spied)
    monkeypatch.setattr(CallList, "replay", watched)
    with use(way):
        found = on_ranks(2, work)
    for recordings, sent_in_first_step in found:
        assert bool(recordings) is (way == "jit")
        assert sent_in_first_step == 2  # of three slices, when the backward pass of the second own shard is over
    # Every step, recorded or not, sends the same slices in the same order on both ranks.
    both = [[call[2:] for call in early if call[0] == rank] for rank in (0, 1)]
    assert both[0] == both[1]
    assert both[0] == both[0][:3] * 4
    first, second, rest = both[0][:3]
    assert first[0] == second[1]
    assert second[0] == rest[1]
    assert rest[0] == 0
    if way == "jit":
        assert set(in_replays) == {first[0], second[0]}  # where the replays stop


class Listening:
    """Rank 0 of two, of which nothing is sent: it counts what would be."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.exchanges = 0

    def exchange(self, sent: Any, received: Any) -> Any:
        self.exchanges += 1

    def gather(self, value: Any) -> list[Any]:
        return [value] * 2

    def abort(self, status: int) -> NoReturn:
        raise SystemExit(status)


def test_what_is_tried_for_its_size_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory does not suffice a part of the shard is computed; the shard may be made yet, when other memory is free."""
    monkeypatch.setattr(shard_payload, "LEAST_BYTES", 0)
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    with emulated_gpu("fast"):
        group = Listening()
        model = network().to("cuda")
        loader = data.DataLoader(images(), 38)
        one = Trainer(model, optim.SGD(model.parameters(), 0.1), loader, graph=False, sharding=Sharding(2, group))
        whole: list[int] = []

        def out_of_memory(layer: Any, inputs: Any) -> None:
            whole.append(len(inputs[0]))
            if len(inputs[0]) == 19:
                raise MemoryError

        model[0].register_forward_pre_hook(out_of_memory)
        with pytest.raises(OutOfMemoryError, match="with a shard of 19: .*; a shard of 9 fits"):
            one.train_step(*images()[np.arange(38)])
    assert whole == [19, 19, 9]
    assert group.exchanges == 0


SCRIPT = """
import sys
from gpucnn.backend.mpi import world
from gpucnn.kernels.ways import use
from gpucnn.training import shard_payload
from tests.training.test_early_slices import trained
shard_payload.LEAST_BYTES = 0
group = world()
found = []
for way in ("numpy", "jit"):
    with use(way):
        found += [trained(group, cuts) for cuts in ((), shard_payload.CUTS)]
everywhere = group.gather(found)
if group.rank == 0:
    import pickle
    pickle.dump(everywhere, open(sys.argv[1], "wb"))
"""


def test_over_mpi_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).parent / "mpiexec"
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("mpiexec is not here")
    import pickle

    monkeypatch.setattr(shard_payload, "LEAST_BYTES", 0)
    place = tmp_path / "found"
    subprocess.run([mpiexec, "-n", "2", sys.executable, "-c", SCRIPT, str(place)], cwd=ROOT, check=True, timeout=120)
    with use("numpy"):
        plain = trained(SingleProcess(), ())
    with use("jit"):
        jit = trained(SingleProcess(), ())
    for rank in pickle.loads(place.read_bytes()):
        assert rank == [plain, plain, jit, jit]
