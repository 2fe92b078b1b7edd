"""From the first moment of a command: what it imports, and what Ctrl-C and SIGTERM do before there is anything to save."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpucnn.cli.main import main
from tests.cli.test_changed_folder import SETTINGS, write_noise

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
TRAIN = ["train", *SETTINGS.split(), "--out", "run"]

PROGRAM = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process that runs in the background lacks

def interrupt(*_, **__):
    os.kill(os.getpid(), signal.{signal})

class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            interrupt()

sys.meta_path.insert(0, Finder())
{more}
from gpucnn.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

IN_A_CALLBACK = """
import weakref
from gpucnn import data, models

class Dropped:
    pass

create = models.create
def late(*arguments, **options):
    dropped = Dropped()
    reference = weakref.ref(dropped, interrupt)
    del dropped
    return create(*arguments, **options)
models.create = late
"""
"""Python prints what is raised there, and goes on."""

WHILE_BUILDING = "from gpucnn import models\nmodels.create = interrupt\n"
WHILE_READING = "import gpucnn.training.image_list as listed\nlisted._fingerprint = interrupt\n"
WHILE_READING_IN_THE_MAIN_THREAD = (
    "from gpucnn import data\nload = data.load\ndata.load = lambda *a: (interrupt(), load(*a))[1]\n"
)


def loaded(*arguments: str) -> set[str]:
    """The modules that are loaded when a command has ended; without arguments, after `import gpucnn`."""
    command = f"from gpucnn.cli.main import main; main({list(arguments)})" if arguments else "import gpucnn"
    program = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {command}"
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_version_needs_no_more_than_import_gpucnn() -> None:
    version = loaded("--version")
    more = {name for name in version - loaded() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert more == {"gpucnn.cli", "gpucnn.cli.main", "gpucnn.cli.commands", "gpucnn.errors"}
    assert "numpy" not in version


def test_a_command_imports_what_it_needs() -> None:
    found = loaded("runs", "--help")
    assert "gpucnn.cli.runs" in found
    assert not {name for name in found if name.startswith(("gpucnn.benchmark", "gpucnn.testing", "gpucnn.cli.bench"))}


def stopped(
    folder: Path, module: str = "", more: str = "", signal: str = "SIGINT"
) -> "subprocess.CompletedProcess[str]":
    """`gpucnn train`, which gets a signal when it imports `module`, or where `more` calls `interrupt`."""
    write_noise(folder / "photos", 6)
    program = PROGRAM.format(module=module, more=more, signal=signal)
    return subprocess.run(
        [sys.executable, "-c", program, *TRAIN], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("module", "more", "name"),
    [
        ("gpucnn.cli.commands", "", "gpucnn"),
        ("numpy", "", "gpucnn"),
        ("numpy._core._multiarray_umath", "", "gpucnn"),  # where an exception becomes NumPy's own
        ("gpucnn.training.run_folder", "", "gpucnn"),
        ("PIL.Image", "", "gpucnn train"),
        ("", WHILE_BUILDING, "gpucnn train"),
        ("", WHILE_READING_IN_THE_MAIN_THREAD, "gpucnn train"),
        ("", IN_A_CALLBACK, "gpucnn train"),
    ],
)  # fmt: skip
def test_ctrl_c_at_any_moment_is_one_line(module: str, more: str, name: str, tmp_path: Path) -> None:
    found = stopped(tmp_path, module, more)
    assert found.returncode == 130, found.stderr
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"{name}: stopped by Ctrl-C")
    assert found.stdout == ""
    assert not (tmp_path / "run" / "gpucnn.lock").exists()


def test_sigterm_before_training_leaves_no_lock(tmp_path: Path) -> None:
    found = stopped(tmp_path, more=WHILE_BUILDING, signal="SIGTERM")
    assert (found.returncode, found.stderr) == (143, "gpucnn train: stopped by SIGTERM\n")
    assert not (tmp_path / "run").exists(), "nothing was written there"


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    program = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    found = stopped(tmp_path, "numpy", program)
    assert (found.returncode, found.stderr) == (0, "")


def start_together(folder: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Status and standard error of commands that run at the same time."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "gpucnn", *command],
            cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_runs_that_start_together_have_folders_of_their_own(tmp_path: Path) -> None:
    write_noise(tmp_path / "photos", 6)
    rates = ["0.001", "0.002", "0.003", "0.004"]
    found = start_together(tmp_path, *(["train", *SETTINGS.split(), "--lr", rate] for rate in rates))
    assert found == [(0, "")] * 4
    runs = sorted((tmp_path / "runs").iterdir())
    assert [run.name for run in runs] == [f"mlp-folder-{number}" for number in (1, 2, 3, 4)]
    names = {tuple(sorted(path.name for path in run.iterdir())) for run in runs}
    assert len(names) == 1, "each has all files, and no lock"
    assert "summary.json" in next(iter(names))


def test_a_folder_in_use_is_refused_until_its_process_has_ended(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(Path("photos"), 6)
    arguments = [*SETTINGS.split(), "--epochs", "100000", "--out", "run"]
    process = subprocess.Popen([sys.executable, "-m", "gpucnn", "train", *arguments], env=ENVIRONMENT)
    while not Path("run/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    for command in (["--out", "run", *SETTINGS.split()], ["--resume", "run"]):
        assert main(["train", *command]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"gpucnn train: run: in use by process {process.pid} on {socket.gethostname()} since ")
        assert said.endswith("; choose another folder, or wait for its end, or stop it\n")
        assert said.count("\n") == 1
    process.kill()
    process.wait()
    assert Path("run/gpucnn.lock").exists()
    assert main(["train", "--resume", "run", "--epochs", "5"]) == 1  # fewer than it has, so that it ends
    assert "epochs is 5, but the run was asked for 100000" in capsys.readouterr().err
    assert not Path("run/gpucnn.lock").exists()
