"""Checkpoint files: they come back to the bit, and nothing else is taken for one."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpucnn import layers
from gpucnn.atomic_file import remove_parts
from gpucnn.errors import ArgumentError, RunError
from gpucnn.files.checkpoint_file import CheckpointFolder
from gpucnn.files.model_file import save_model
from gpucnn.training import load_checkpoint, save_checkpoint
from tests.training.small_run import assert_same, small_trainer

ROOT = Path(__file__).parents[2]
ARRAYS = {
    "model/0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model/empty": np.empty((0, 2), np.float32),
    "optimizer/0.weight/steps": np.array(7),
    "metrics/loss_sum": np.array(0.1, np.float64),
}
VALUES = {"epoch": 1, "history": [{"epoch": 1, "train_loss": 0.1 + 0.2, "lr": 1.0}], "name": "ünï\n"}
CONFIG = {"model": "mlp", "lr": 1e-05}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    save_checkpoint(path, ARRAYS, VALUES, CONFIG)
    return path


def test_a_checkpoint_comes_back(file: Path) -> None:
    checkpoint = load_checkpoint(file)
    assert_same((checkpoint.arrays, checkpoint.values), (ARRAYS, VALUES))
    assert {name: array.shape for name, array in checkpoint.arrays.items()} == {
        name: array.shape for name, array in ARRAYS.items()
    }
    assert list(checkpoint.values["history"][0]) == ["epoch", "train_loss", "lr"], "in their order"
    assert (checkpoint.config, checkpoint.warning, checkpoint.path) == (CONFIG, "", file)
    assert set(checkpoint.versions) == {"gpucnn", "numpy", "python"}
    assert checkpoint.versions["numpy"] == np.__version__


def test_a_trainer_comes_back_from_a_file(tmp_path: Path) -> None:
    trainer = small_trainer(average=True)
    trainer.fit(1)
    save_checkpoint(tmp_path / "file", *trainer.state(), {})
    checkpoint = load_checkpoint(tmp_path / "file")
    resumed = small_trainer(average=True)
    resumed.restore(checkpoint.arrays, checkpoint.values)
    assert_same(resumed.state(), trainer.state())


def test_the_same_state_gives_the_same_bytes(file: Path) -> None:
    first = file.read_bytes()
    save_checkpoint(file, dict(reversed(ARRAYS.items())), VALUES, CONFIG)
    assert file.read_bytes() == first


def test_loading_needs_no_cupy(file: Path) -> None:
    script = (
        "import sys; sys.modules['cupy'] = None\n"
        "from pathlib import Path; from gpucnn.training import load_checkpoint\n"
        "print(load_checkpoint(Path(sys.argv[1])).values['epoch'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr) == ("1\n", "")


def test_every_flipped_bit_is_noticed(file: Path, rng: np.random.Generator) -> None:
    content = file.read_bytes()
    header = 8 + int(struct.unpack("<Q", content[:8])[0])
    assert header + sum(array.nbytes for array in ARRAYS.values()) == len(content)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(RunError) as raised:
            load_checkpoint(file)
        assert str(raised.value).startswith(f"{file}: "), position
        if position >= header:
            assert str(raised.value).endswith(": damaged (its checksum is not that of its content)")


def test_every_truncation_is_noticed(file: Path) -> None:
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(RunError, match="not a checkpoint that can be read"):
            load_checkpoint(file)
    file.write_bytes(content + b"\0")
    with pytest.raises(RunError, match="not a checkpoint that can be read"):
        load_checkpoint(file)


def test_a_damaged_half_that_is_a_whole_file_is_noticed(file: Path) -> None:
    """Arrays of another checkpoint, with equal shapes, under this one's header."""
    ours = file.read_bytes()
    save_checkpoint(file, {**ARRAYS, "metrics/loss_sum": np.array(0.3)}, VALUES, CONFIG)
    theirs = file.read_bytes()
    file.write_bytes(ours[: -len(ARRAYS["model/0.weight"].tobytes()) - 16] + theirs[-40:])
    with pytest.raises(RunError, match=r"damaged \(its checksum|not a checkpoint that can be read"):
        load_checkpoint(file)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(RunError, match="file: no such checkpoint"):
        load_checkpoint(path)
    path.mkdir()
    with pytest.raises(RunError, match="not a checkpoint that can be read .*Is a directory"):
        load_checkpoint(path)
    path.rmdir()
    save_file({"a": np.ones(2)}, path)
    with pytest.raises(RunError, match="a safetensors file, but not a checkpoint that gpucnn wrote"):
        load_checkpoint(path)
    save_model(path, layers.Linear(2, 2), {})
    with pytest.raises(RunError, match="a safetensors file, but not a checkpoint that gpucnn wrote"):
        load_checkpoint(path)
    path.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(RunError, match="not a checkpoint that can be read"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 4, "versions": {"gpucnn": "99.0"}}, "of format 4, written by gpucnn 99.0; this is gpucnn .*, which reads formats 1 to 3"),
        ({"format": 1, "versions": {}}, "not a checkpoint that gpucnn wrote"),
        ({"format": 1, "values": {}, "config": "", "versions": {}}, "not a checkpoint that gpucnn wrote"),
        ([], "not a checkpoint that gpucnn wrote"),
        (None, "not a checkpoint that gpucnn wrote"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_format_is_named(tmp_path: Path, content: object, message: str) -> None:
    from gpucnn.files import checkpoint_file, tensor_file

    text = json.dumps(content)
    metadata = f"{checkpoint_file._checksum(ARRAYS, text)} {text}"
    tensor_file.write_tensors(tmp_path / "file", ARRAYS, "gpucnn checkpoint", metadata)
    with pytest.raises(RunError, match=message):
        load_checkpoint(tmp_path / "file")


def saved_steps(folder: CheckpointFolder) -> list[int]:
    return [int(path.name[5:14]) for path in folder.files()]


def save(folder: CheckpointFolder, step: int, **options: Any) -> Path:
    return folder.save(step, ARRAYS, {"step": step}, CONFIG, **options)


def test_the_last_checkpoints_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.files() == []
    for step in (9, 10, 100, 1000):
        assert save(folder, step, keep=3).name == f"step-{step:09d}.safetensors"
    assert saved_steps(folder) == [10, 100, 1000]
    save(folder, 1001)
    assert saved_steps(folder) == [1000, 1001]
    save(folder, 1001)
    assert saved_steps(folder) == [1000, 1001]
    save(folder, 1002, keep=1)
    assert saved_steps(folder) == [1002]
    with pytest.raises(ArgumentError, match="keep must be an int >= 1"):
        save(folder, 1003, keep=0)


def test_the_newest_that_is_whole_is_loaded_and_the_others_are_named(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(RunError, match="no checkpoints there; train first, or give another run"):
        folder.load()
    paths = [save(folder, step, keep=3) for step in (1, 2, 3)]
    assert (folder.load().values["step"], folder.load().warning) == (3, "")
    damaged = bytearray(paths[2].read_bytes())
    damaged[-1] ^= 1
    paths[2].write_bytes(damaged)
    checkpoint = CheckpointFolder(tmp_path).load()
    assert (checkpoint.values["step"], checkpoint.path) == (2, paths[1])
    assert checkpoint.warning == (
        f"{paths[2]}: damaged (its checksum is not that of its content); going on from {paths[1].name} instead"
    )
    for path in paths[:2]:
        path.write_bytes(b"")
    with pytest.raises(
        RunError, match=r"no checkpoint of the run can be read: .*3.safetensors: damaged .*; .*2.safet.*1.safet"
    ):
        folder.load()


def test_going_on_keeps_what_came_before_and_drops_what_came_after(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (10, 20, 30):
        save(folder, step, keep=5)
    resumed = CheckpointFolder(tmp_path)
    resumed.go_on(20)
    assert saved_steps(resumed) == [10, 20, 30], "until something better is there"
    save(resumed, 25, keep=5)
    assert saved_steps(resumed) == [10, 20, 25]
    fresh = CheckpointFolder(tmp_path)
    save(fresh, 5, keep=5)
    assert saved_steps(fresh) == [5]


def test_other_files_are_left_alone_and_parts_are_removed(tmp_path: Path) -> None:
    for name in ("notes.txt", "step-1.safetensors", ".hidden", ".step-000000001.safetensors.77.part"):
        (tmp_path / name).write_text("x")
    folder = CheckpointFolder(tmp_path)
    remove_parts(folder.path)
    save(folder, 3)
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt", "step-1.safetensors", ".hidden", "step-000000003.safetensors",
    }  # fmt: skip


def test_a_checkpoint_that_cannot_be_written_names_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            RunError,
            match=r"1.safetensors: the checkpoint cannot be written \(No space left on device\); make room on the disk; "
            "there is no earlier",
        ):
            save(folder, 1)
    first = save(folder, 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError, match="2.safetensors: the checkpoint cannot be written .*; .*1.safetensors is the last one that"
    ):
        save(folder, 2)
    assert list(tmp_path.iterdir()) == [first]
    assert folder.load().values["step"] == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        RunError, match=r"checkpoints: cannot be written \(Not a directory\); a file is .*; there is no earlier"
    ):
        save(CheckpointFolder(tmp_path / "file" / "checkpoints"), 1)
