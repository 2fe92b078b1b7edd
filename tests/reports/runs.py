"""Reports on runs: that start together, are killed, go on, or are measured in a folder that has changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gpucnn.cli.launcher import check_single_process
from gpucnn.cli.main import main
from gpucnn.data import ImageFolder, split
from gpucnn.data.catalog import load_to_measure
from gpucnn.data.image_folder import names_of
from gpucnn.errors import ConfigError, DataError, RunError
from gpucnn.runs.image_list import ImageList, files_in
from gpucnn.runs.measured_images import other_images, own_images
from gpucnn.runs.prepared_run import PreparedRun
from gpucnn.training import RunConfig, RunFolder, prepare, resume
from tests.cli.test_changed_folder import write_noise
from tests.cli.test_start import loaded
from tests.data.image_files import save
from tests.data.test_split import empty_images
from tests.reports.report import Report
from tests.runs.test_lock import left, take_together


def _numbers(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: RunFolder.next_in(folder / "runs", "mlp").path.name, range(24)))
    assert sorted(found) == sorted(f"mlp-{number}" for number in range(1, 25))


def _killed(folder: Path) -> None:
    left(folder)
    (lock,) = take_together(folder, 6)
    lock.release()


def _number_used_again(folder: Path) -> None:
    left(folder, pid=os.getpid())
    RunFolder(folder).prepare()


def _killed_while_taking_over(folder: Path) -> None:
    left(folder)
    left(folder, "gpucnn.lock.0123", token="4567")
    RunFolder(folder).prepare()


def _elsewhere(folder: Path) -> None:
    path = left(folder, host="node-7")
    with pytest.raises(RunError, match=f"on node-7 since .*, remove {path}"):
        RunFolder(folder).prepare()


def _resume_of_a_running_one(folder: Path) -> None:
    run = RunFolder(folder / "run")
    run.prepare()
    run.config_file.write_text('{"create": {}, "preprocess": {}, "class_names": [], "data": "x"}')
    with run.lock, pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        resume(run.path)


def _refused(**environment: str) -> Callable[[Path], None]:
    def check(_: Path) -> None:
        with pytest.raises(ConfigError, match="processes that were started together"):
            check_single_process(environment)

    return check


def _taken(environment: Mapping[str, str]) -> Callable[[Path], None]:
    return lambda _: check_single_process(environment)


def _names_decide(folder: Path) -> None:
    empty_images(folder, cat=200, dog=200)
    before = [set(names_of(part) or ()) for part in split(ImageFolder(folder, 8), 0.8)]
    for name in ("cat/0.png", "cat/7.png", "dog/100.png"):
        (folder / name).unlink()
    (folder / "cat" / "000.png").touch()
    train, test = (set(names_of(part) or ()) for part in split(ImageFolder(folder, 8), 0.8))
    assert not train & before[1]
    assert not test & before[0]


def _run_on(folder: Path) -> tuple[PreparedRun, ImageList]:
    config = RunConfig(data="folder", data_dir=str(folder), model="mlp", image_size=8, device="cpu")
    ready = prepare(config)
    assert ready.images is not None
    return ready, ready.images


def _removed(folder: Path) -> None:
    _, images = _run_on(write_noise(folder / "photos", 20))
    (folder / "photos" / images.names("test")[0]).unlink()
    ready, _ = _run_on(folder / "photos")
    measured = own_images(images, ready.splits, folder / "photos", "test")
    assert [f"{name}" for name in names_of(measured.images) or ()] == images.names("test")[1:]
    assert "1 image is gone" in measured.notes[0]


def _renamed(folder: Path) -> None:
    place = write_noise(folder / "photos", 20)
    _, images = _run_on(place)
    for name in images.names("train"):
        (place / name).rename(place / name.replace(".bmp", "-renamed.bmp"))
    ready, _ = _run_on(place)
    measured = own_images(images, ready.splits, place, "test")
    assert list(names_of(measured.images) or ()) == images.names("test")
    assert images.changes(files_in(ready.splits, place), ()).gone == tuple(sorted(images.names("train")))


def _swapped(folder: Path) -> None:
    place = write_noise(folder / "photos", 20)
    _, images = _run_on(place)
    shutil.copy(place / images.names("train")[0], place / images.names("test")[0])
    ready, _ = _run_on(place)
    assert list(names_of(own_images(images, ready.splits, place, "test").images) or ()) == images.names("test")[1:]


def _whole(folder: Path) -> None:
    _, images = _run_on(write_noise(folder / "photos", 20))
    other, _ = load_to_measure(write_noise(folder / "other", 10, 1), "test", 8, "rgb", ("cat", "dog"))
    assert len(other_images(images, other, folder / "other", "test").images) == 20


def _overlapping(folder: Path) -> None:
    _, images = _run_on(write_noise(folder / "photos", 20))
    shutil.copytree(folder / "photos", folder / "other")
    for name in images.names("test"):
        save(folder / "other" / name, np.zeros((8, 8, 3)))
    other, _ = load_to_measure(folder / "other", "test", 8, "rgb", ("cat", "dog"))
    measured = other_images(images, other, folder / "other", "test")
    assert list(names_of(measured.images) or ()) == images.names("test")


def _doubles(folder: Path) -> None:
    write_noise(folder / "photos" / "train", 5)
    write_noise(folder / "photos" / "test", 5)
    assert _run_on(folder / "photos")[1].doubles() == 10


def _pipe_in_the_folder(folder: Path) -> None:
    place = write_noise(folder / "photos", 5)
    os.mkfifo(place / "cat" / "pipe.bmp")
    with suppress(DataError):
        _run_on(place)


def _ctrl_c_at_first(folder: Path) -> None:
    program = (
        "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import gpucnn.cli.main as entry; entry.importlib.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "entry.main(['train'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (130, "gpucnn: stopped by Ctrl-C\n")


def _light_version(folder: Path) -> None:
    assert not {
        name
        for name in loaded("--version")
        if name.startswith(("numpy", "gpucnn.training", "gpucnn.runs", "PIL", "safetensors"))
    }


def _foreign_lock_name(folder: Path) -> None:
    (folder / "run.lock").write_text("of another program")
    assert main(["train", "--model", "mlp", "--epochs", "1", "--out", str(folder)]) == 1
    assert [path.name for path in folder.iterdir()] == ["run.lock"]


SBATCH = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}

REPORTS = [
    Report("runs started in the same moment", "each has a folder of its own", "metatensor/metatrain#446", _numbers),
    Report("a killed process has left its lock", "the lock is taken, by one of those that want it", "ChrisCummins/clgen#116", _killed),
    Report("another process has the number of the killed one", "the lock is taken", "mrmans0n/alas#217", _number_used_again),
    Report("killed while taking a lock over", "the next one takes it", "MrZoller/vantage-point#51", _killed_while_taking_over),
    Report("killed on another node of a cluster", "the node, and the file to remove, are named", "nipype/pydra#216", _elsewhere),
    Report("a run that is going on is resumed", "refused", "", _resume_of_a_running_one),
    Report("srun starts a command several times", "refused", "huggingface/datatrove#296", _refused(SLURM_NTASKS="8")),
    Report("srun in a script of sbatch", "refused", "TUM-DAML/seml#177", _refused(**SBATCH, SLURM_STEP_ID="0", SLURM_STEP_NUM_TASKS="8")),
    Report("mpiexec starts a command several times", "refused", "", _refused(PMI_SIZE="2")),
    Report("one process in a script of sbatch for many tasks", "taken", "Lightning-AI/pytorch-lightning#14300", _taken(SBATCH)),
    Report("a shell of salloc", "taken", "Lightning-AI/pytorch-lightning#21712", _taken({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8"})),
    Report("images come and go", "the others stay in their part", "keras-team/keras#6152", _names_decide),
    Report("a test image was removed", "the others are measured, and it is told", "swisstopo/swissgeol-boreholes-dataextraction#363", _removed),
    Report("training images were renamed", "they are not measured as test", "", _renamed),
    Report("a training image is in a test image's place", "it is not measured as test", "", _swapped),
    Report("another folder of images", "all of it is measured", "", _whole),
    Report("another folder with images of the training", "these are left out", "", _overlapping),
    Report("the same images in train and test", "they are counted", "", _doubles),
    Report("a named pipe among the images", "the run does not wait for it", "", _pipe_in_the_folder),
    Report("Ctrl-C while Python imports", "one line", "ipython/ipython#9730", _ctrl_c_at_first),
    Report("the version of a command", "no heavy import", "pytorch/torchchat#1347", _light_version),
    Report("another program's run.lock in the folder", "the folder is no run, and stays as it is", "", _foreign_lock_name),
]  # fmt: skip
