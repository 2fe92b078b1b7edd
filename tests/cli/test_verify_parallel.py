"""`gpucnn verify-parallel`: what is compared, and that a bit that differs is found."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucnn.backend import mpi
from gpucnn.cli import verify_parallel
from gpucnn.cli.main import main
from gpucnn.errors import LibraryError, Terminated
from gpucnn.training import RunFolder, save_checkpoint

pytestmark = pytest.mark.usefixtures("wide_terminal")

SMALL = [
    "verify-parallel",
    "--model",
    "mlp",
    "--device",
    "cpu",
    "--batch-size",
    "96",
    "--steps",
    "3",
    "--processes",
    "1",
    "2",
]


@pytest.fixture(autouse=True)
def temporary(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds temporary ones."""
    place = in_tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_a_run_of_one_s_own_and_one_bit(
    temporary: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mpi4py")
    assert main(SMALL) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == (
        "mlp on digits, adam, one_cycle: 3 steps in 2 shards, as no --shards is given, on 1 and 2 processes"
    )
    rows = [re.split(r" {2,}", line.strip()) for line in lines[5:-2]]
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][1:] == rows[1][1:]
    assert re.fullmatch("[0-9a-f]{64}", rows[0][3])
    assert lines[-1] == (
        f"PASS: {rows[0][1]} arrays and {rows[0][2]} bytes in all are the same on 1 and 2 processes; epochs finished on the way: 0"
    )
    assert list(temporary.iterdir()) == [], "nothing is kept"

    trained = verify_parallel._trained

    def spoilt(config: Any, steps: int, size: int, place: Path) -> RunFolder:
        folder = trained(config, steps, 1, place)
        if size == 2:
            saved = folder.checkpoints.load()
            weight = saved.arrays["model/output.weight"]
            weight[3, 7] = np.nextafter(weight[3, 7], np.float32(9))
            save_checkpoint(saved.path, saved.arrays, saved.values, saved.config)
        return folder

    monkeypatch.setattr(verify_parallel, "_trained", spoilt)
    assert main(SMALL) == 1
    assert re.fullmatch(
        r"FAIL: model/output.weight differs in 1 of 1,000 elements: the first is \S+ on 1 process, and \S+ on 2 processes",
        capfd.readouterr().out.splitlines()[-1],
    )
    assert list(temporary.iterdir()) == []


def test_a_process_alone_that_fails_is_told_in_a_line(temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mpi4py")
    assert main([*SMALL, "--lr", "1e30", "--optimizer", "sgd"]) == 1
    why, status = capfd.readouterr().err.splitlines()
    assert why.startswith("gpucnn verify-parallel: step 2 (epoch 1, batch 2): the loss became nan; ")
    assert str(temporary) not in why, "nothing is kept there to resume or replay"
    assert status == "gpucnn verify-parallel: the run on 1 process ended with status 1; see above why"
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGTERM", "Ctrl-C"])
def test_a_process_alone_leaves_it_to_its_starter_to_tell_of_a_signal(
    name: str, temporary: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, status = (Terminated, 143) if name == "SIGTERM" else (KeyboardInterrupt, 130)

    def stop(*_: object) -> None:
        raise kind(f"stopped by {name} after step 2; {temporary}/run is saved, go on with: gpucnn train --resume")

    monkeypatch.setattr(verify_parallel, "_train_in", stop)
    assert verify_parallel.main([str(temporary)]) == status
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(verify_parallel.mpiexec, "run", lambda *_: status)
    assert main(SMALL) == status
    assert capfd.readouterr().err == (
        f"gpucnn verify-parallel: stopped by {name}; nothing is kept of what was trained\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--processes 2", "--processes 2 has nothing to compare with; give two numbers or more, e.g. 1 2 3"),
        ("--shards 1", "--shards 1 for 2 processes: each computes at least one shard; give --shards 2 or more"),
        ("--epochs 1 --steps 99", "steps is 99, more than the 15 of the run; give fewer, or more epochs"),
    ],
)
def test_what_cannot_be_compared_is_told(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *options.split()]) == 1
    assert capsys.readouterr().err == f"gpucnn verify-parallel: {message}\n"


def test_without_mpi4py(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise LibraryError("several processes need mpi4py; pip install mpi4py mpich")

    monkeypatch.setattr(mpi, "check", absent)
    assert main(SMALL) == 1
    assert (
        capsys.readouterr().err == "gpucnn verify-parallel: several processes need mpi4py; pip install mpi4py mpich\n"
    )
