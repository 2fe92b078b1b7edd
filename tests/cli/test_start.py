"""From the first moment of a command: what it imports, and what Ctrl-C and SIGTERM do before there is anything to save."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import gpucnn
from gpucnn import data, models
from gpucnn.cli import commands
from gpucnn.cli.main import main
from gpucnn.runs.image_list import ImageList
from gpucnn.training import RunFolder, Trainer
from tests.cli.test_changed_folder import SETTINGS, write_noise

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
TRAIN = ["train", *SETTINGS.split(), "--out", "run"]

PROGRAM = """
import os, signal, sys, weakref

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process that runs in the background lacks

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)

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
from gpucnn import models

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


def test_all_public_names_are_there_when_they_are_looked_at() -> None:
    found: dict[str, object] = {}
    exec("from gpucnn import *", found)
    assert {"Tensor", "no_grad", "functions", "layers", "training", "backend", "convolve2d"} < set(found)
    assert set(gpucnn.__all__) < set(dir(gpucnn))
    assert not {"importlib", "TYPE_CHECKING"} & set(dir(gpucnn))
    assert found["Tensor"] is gpucnn.Tensor is gpucnn.autograd.Tensor
    with pytest.raises(AttributeError, match="^gpucnn has no nothing$"):
        gpucnn.nothing  # noqa: B018


def test_a_command_imports_what_it_needs() -> None:
    found = loaded("runs", "--help")
    assert "gpucnn.cli.runs" in found
    assert not {name for name in found if name.startswith(("gpucnn.benchmark", "gpucnn.testing", "gpucnn.cli.bench"))}


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "summary"])
def test_commands_without_pictures_import_none_of_what_draws_them(command: str) -> None:
    drawing = {"matplotlib", "jinja2", "IPython", "http.server", "gpucnn.plot", "gpucnn.report", "gpucnn.play"}
    assert not drawing & loaded(command, "--help")


@pytest.mark.parametrize(
    ("module", "more", "name"),
    [
        ("gpucnn.cli.commands", "", "gpucnn"),
        ("numpy._core._multiarray_umath", "", "gpucnn"),  # where an exception becomes NumPy's own
        ("gpucnn.runs.folder", "", "gpucnn"),
        ("", IN_A_CALLBACK, "gpucnn train"),
    ],
    ids=["first", "numpy", "own", "callback"],
)
def test_ctrl_c_while_python_imports_is_one_line(module: str, more: str, name: str, tmp_path: Path) -> None:
    program = PROGRAM.format(module=module, more=more)
    write_noise(tmp_path / "photos", 6)
    found = subprocess.run(
        [sys.executable, "-c", program, *TRAIN],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 130, found.stderr
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"{name}: stopped by Ctrl-C")
    assert found.stdout == ""
    assert not (tmp_path / "run" / "gpucnn.lock").exists()


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """Signals do what they do there, whatever this process was started with."""
    earlier = [signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)]
    yield
    signal.signal(signal.SIGINT, earlier[0])
    signal.signal(signal.SIGTERM, earlier[1])


MOMENTS = {
    "the images are listed": (data, "load"),
    "the images are read": (ImageList, "of"),
    "the model is built": (models, "create"),
    "the run is about to begin": (Trainer, "fit"),
}


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_before_training_is_one_line_and_leaves_nothing(
    number: signal.Signals, status: int, name: str, moment: str,
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def interrupt(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    write_noise(Path("photos"), 2)
    monkeypatch.setattr(*MOMENTS[moment], interrupt)
    assert main(TRAIN) == status
    assert capsys.readouterr().err == f"gpucnn train: stopped by {name}\n"
    assert not Path("run").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize("interactive", [True, False])
def test_ctrl_c_ends_a_program_at_once_and_no_notebook(interactive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    parse = commands.parse

    def look(arguments: list[str]) -> argparse.Namespace:
        found.append(signal.getsignal(signal.SIGINT))
        return parse(arguments)

    monkeypatch.setattr(commands, "parse", look)
    if interactive:
        monkeypatch.setattr(sys, "ps1", "> ", raising=False)
    assert main(["summary", "mlp"]) == 0
    assert (found[0] is signal.default_int_handler) is interactive
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("as_in_a_terminal")
def test_an_ignored_ctrl_c_stays_ignored(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = models.create
    monkeypatch.setattr(models, "create", lambda **options: (os.kill(os.getpid(), signal.SIGINT), create(**options))[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_noise(Path("photos"), 6)
    assert main(TRAIN) == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_command_in_another_thread(capsys: pytest.CaptureFixture[str]) -> None:
    """Which gets no signals."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["summary", "mlp"]).result() == 0
    assert "79,510" in capsys.readouterr().out


TOGETHER = """
import os, sys
from gpucnn.cli import train  # once for all, so that they begin in the same moment
from gpucnn.cli.main import main

children = []
for last in sys.argv[1].split():
    children.append(os.fork())
    if children[-1] == 0:
        os._exit(main([*sys.argv[2:], last]))
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
"""Starts a command several times, each time with another last argument; the sum of their statuses."""


def start_together(last: str, *command: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-W", "ignore", "-c", TOGETHER, last, *command]
    return subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by forking")
def test_runs_that_start_together_have_folders_of_their_own(in_tmp_path: Path) -> None:
    write_noise(Path("photos"), 6)
    rates = ["0.001", "0.002", "0.003", "0.004"]
    found = start_together(" ".join(rates), "train", *SETTINGS.split(), "--lr")
    assert (found.returncode, found.stderr) == (0, "")
    runs = sorted(Path("runs").iterdir())
    assert [run.name for run in runs] == [f"mlp-photos-{number}" for number in (1, 2, 3, 4)]
    assert sorted(str(RunFolder(run).read_config()["lr"]) for run in runs) == rates
    names = {tuple(sorted(path.name for path in run.iterdir())) for run in runs}
    assert len(names) == 1, "each has all files, and no lock"
    assert "summary.json" in next(iter(names))
    assert main(["evaluate", str(runs[3]), "--device", "cpu"]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by forking")
def test_runs_in_one_folder_are_one_after_the_other(in_tmp_path: Path) -> None:
    write_noise(Path("photos"), 6)
    found = start_together("1 2 3", "train", *SETTINGS.split(), "--epochs", "20", "--out", "run", "--seed")
    refused = found.stderr.splitlines()
    assert len(refused) == found.returncode
    assert [line for line in refused if not line.startswith("gpucnn train: run: in use by process ")] == []
    assert 1 <= found.stdout.count("test accuracy") == 3 - len(refused)
    assert Path("run/metrics.jsonl").read_text().count("\n") == 20
    assert not Path("run/gpucnn.lock").exists()


def test_a_folder_in_use_is_refused_until_its_process_has_ended(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(Path("photos"), 6)
    arguments = [*SETTINGS.split(), "--epochs", "100000", "--out", "run"]
    process = subprocess.Popen([sys.executable, "-m", "gpucnn", "train", *arguments], env=ENVIRONMENT)
    while not RunFolder("run").checkpoints.files():
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
