"""A training whose processes have a GPU each, and exchange by NCCL: the bytes of one GPU. Threads and stand-ins play them."""

from collections.abc import Iterator

import pytest

from gpucnn.backend import Device
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.backend.group import SingleProcess
from gpucnn.backend.nccl import NcclGroup
from gpucnn.runs.config import RunConfig
from gpucnn.runs.prepare import prepare
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator, compiler
from tests.backend.thread_group import ThreadGroup, on_ranks
from tests.training.test_sharding import trained

pytestmark = pytest.mark.skipif(compiler() is None, reason="kernels on the emulator need g++")


@pytest.fixture
def cupy() -> Iterator[CupyStandIn]:
    stand_in = CupyStandIn(Emulator(), devices=3)
    with use_in_place_of_cupy(stand_in):
        yield stand_in


def test_several_gpus_give_the_bytes_of_one(cupy: CupyStandIn) -> None:
    expected = trained(None, 1, device="cuda", graph=False, average=True)

    def shared(group: ThreadGroup) -> str:
        device = Device("cuda", group.rank)
        return trained(NcclGroup(group, device), 1, device=str(device), graph=False, average=True)

    for size in (2, 3):
        with cupy.operation_log.recorded() as operations:
            assert on_ranks(size, shared) == [expected] * size
        assert {"exchange"} <= {one.kind for one in operations}


def test_a_run_on_several_gpus_takes_nccl(cupy: CupyStandIn) -> None:
    def chosen(group: ThreadGroup) -> list[type]:
        found = []
        for device in ("cpu", f"cuda:{group.rank}"):
            config = RunConfig(model="mlp", device=device, shards=2, data="digits", epochs=1)
            found.append(type(prepare(config).trainer(group=group).sharding.group))
        return found

    assert on_ranks(2, chosen) == [[ThreadGroup, NcclGroup]] * 2
    alone = prepare(RunConfig(model="mlp", device="cuda", shards=2, data="digits", epochs=1))
    assert type(alone.trainer(group=SingleProcess()).sharding.group) is SingleProcess
