"""The container's commands, run as they are but for their paths and port, and the clients of its page."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.small_runs import save_digit, train
from tests.serve.service import Service

pytest.importorskip("uvicorn", reason="needs the extra serve")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "serve"
STEPS = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text()).splitlines()
PAGE = (FOLDER / "README.md").read_text()
PORT = "8000"


def commands(instruction: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, for each of its lines."""
    return [line.removeprefix(f"{instruction} ") for line in STEPS if line.startswith(f"{instruction} ")]


class Container(Service):
    """The entry point, outside a container."""

    def command(self, run: Path, port: int, options: tuple[str, ...]) -> list[str]:
        (entry,) = commands("ENTRYPOINT")
        program, *arguments = json.loads(entry)
        assert program == "/venv/bin/gpucnn"
        assert arguments[-2:] == ["--host", "0.0.0.0"]  # of a container alone: the test keeps to this machine
        return [
            *(sys.executable, "-m", "gpucnn"),
            *(str(run) if one == "/model" else one for one in arguments[:-2]),
            *("--port", str(port)),
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    train(folder / "run")
    save_digit(folder / "digit.png", 1)
    return folder


@pytest.fixture(scope="module")
def container(folder: Path) -> Iterator[Container]:
    service = Container(folder / "run")
    yield service
    service.process.kill()
    service.ended()


def test_what_is_copied_is_there_and_no_more_is_installed_than_it_needs() -> None:
    copied = [word for line in commands("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    assert [word for word in copied if word != "${RUN}" and not (ROOT / word).exists()] == []
    (install,) = [line for line in commands("RUN") if " install " in line]
    assert shlex.split(install)[-1] == ".[serve,onnxruntime]"
    extras = (ROOT / "pyproject.toml").read_text()
    assert re.search(r"^serve = ", extras, re.MULTILINE)
    assert re.search(r"^onnxruntime = ", extras, re.MULTILINE)


def test_it_is_no_administrator_who_listens() -> None:
    (added,) = [line for line in commands("RUN") if line.startswith("useradd")]
    assert commands("USER") == [added.split()[-1]]
    assert STEPS.index(f"USER {added.split()[-1]}") < next(
        place for place, line in enumerate(STEPS) if line.startswith("ENTRYPOINT")
    )


def test_the_lines_of_the_page_are_answered(container: Container, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (lines,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    found = []
    for line in lines.replace(f":{PORT}", f":{container.port}").splitlines():
        command = shlex.split(line)
        assert command[0] == "curl"
        done = subprocess.run([*command, "--silent", "--show-error"], cwd=folder, capture_output=True, check=True)
        found.append(json.loads(done.stdout))
    one, several, ready = found
    assert one["predictions"][0]["probability"] > one["predictions"][1]["probability"] > 0
    assert [image["predictions"] for image in several["images"]] == [one["predictions"][:1]] * 2
    assert ready


def test_the_client_in_python_is_answered(container: Container, folder: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = program.replace(f":{PORT}", f":{container.port}")
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    name, probability = done.stdout.split()
    answer = container.predict((folder / "digit.png").read_bytes()).json["predictions"][0]
    assert (name, float(probability)) == (answer["class"], answer["probability"])


def test_its_health_is_asked_for_and_it_ends_as_it_is_told_to(container: Container) -> None:
    (check,) = commands("HEALTHCHECK")
    program, *arguments = json.loads(check[check.index("[") :].replace(f":{PORT}", f":{container.port}"))
    assert program == "/venv/bin/python"
    asked = [sys.executable, *arguments]
    assert subprocess.run(asked, capture_output=True).returncode == 0
    assert commands("STOPSIGNAL") == ["SIGTERM"]
    assert container.stop() == 0
    assert subprocess.run(asked, capture_output=True).returncode != 0
