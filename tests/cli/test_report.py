"""`gpucnn report` and `gpucnn train --report`: whose page is written, when, and what is said where it cannot be."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gpucnn import report
from gpucnn.cli.main import main
from gpucnn.report import report as report_module
from tests.cli.small_runs import train
from tests.cli.test_start import loaded

TRAIN = "train --model mlp --epochs 1 --device cpu"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose page was asked for, in their order; of each an empty one is written."""
    asked: list[str] = []

    def write(run: str | os.PathLike[str], **options: Any) -> Path:
        assert options == {"device": "cpu"}
        assert (Path(run) / "summary.json").exists(), "the run has finished"
        asked.append(str(run))
        (Path(run) / "report.html").write_text("")
        return Path(run) / "report.html"

    monkeypatch.setattr(report, "write_report", write)
    return asked


def test_a_new_run(in_tmp_path: Path, written: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN.split(), "--out", "run", "--report"]) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0].startswith("test accuracy 0.")
    assert last[1] == "report: run/report.html"
    assert main([*TRAIN.split(), "--quiet", "--report"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert written == ["run", "runs/mlp-digits-1"]


def test_without_the_option_there_is_none_and_the_run_is_the_same(in_tmp_path: Path, written: list[str]) -> None:
    assert main([*TRAIN.split(), "--out", "run", "--quiet"]) == 0
    assert main([*TRAIN.split(), "--out", "other", "--quiet", "--report"]) == 0
    assert written == ["other"]
    for path in Path("run").rglob("*.*"):
        if path.name not in ("times.jsonl", "summary.json") and path.is_file():
            assert path.read_bytes() == Path("other", path.relative_to("run")).read_bytes()


def test_a_page_goes_with_the_run_that_it_was_of(in_tmp_path: Path, written: list[str]) -> None:
    assert main([*TRAIN.split(), "--schedule", "constant", "--out", "run", "--quiet", "--report"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "2", "--device", "cpu", "--quiet"]) == 0
    assert not Path("run/report.html").exists()
    assert main(["train", "--resume", "run", "--quiet", "--device", "cpu", "--report"]) == 0
    assert Path("run/report.html").exists()
    assert main([*TRAIN.split(), "--out", "run", "--quiet"]) == 0
    assert not Path("run/report.html").exists()
    assert written == ["run", "run"]


def test_of_seeds_each_has_one(in_tmp_path: Path, written: list[str]) -> None:
    words = [*TRAIN.split(), "--seeds", "3", "4", "--out", "seeds", "--quiet"]
    assert main(words) == 0
    assert main([*words, "--report"]) == 0
    assert written == ["seeds/seed-3", "seeds/seed-4"]
    Path("seeds/seed-4/report.html").unlink()
    assert main([*words, "--report"]) == 0
    assert written == ["seeds/seed-3", "seeds/seed-4", "seeds/seed-4"]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (MemoryError, 1)])
def test_what_stops_it_leaves_the_run_and_no_part_of_a_page(
    error: type[BaseException],
    status: int,
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(report_module, "page", stop)
    monkeypatch.setattr(report_module, "contents", lambda run: {})
    assert main([*TRAIN.split(), "--out", "run", "--quiet", "--report"]) == status
    told = capsys.readouterr()
    assert told.out.startswith("test accuracy 0.")
    assert told.err.endswith("; the run itself has finished; its report: gpucnn report run\n")
    assert told.err.count("\n") == 1
    assert {path.name for path in Path("run").iterdir()} >= {"summary.json", "model.safetensors"}
    assert not [path for path in Path("run").rglob("*") if "report" in path.name]


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_without_a_library_it_says_so_before_anything_is_done(
    library: str, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for command in (f"{TRAIN} --out run --report", "report run"):
        assert main(command.split()) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"gpucnn {command.split()[0]}: a report needs {library} (")
        assert said.endswith('); pip install "gpucnn[plot]"\n')
        assert said.count("\n") == 1
    assert not Path("run").exists()


def test_a_place_where_no_page_can_be_is_refused_before_anything_is_measured(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(Path("run"))
    monkeypatch.setattr(report_module, "RunInHand", None)
    Path("folder").mkdir()
    places = {
        "folder": "a folder); give the name of a file",
        "gone/page.html": "no folder gone); make it first",
        "run/config.json/page.html": "no folder run/config.json); make it first",
    }
    capsys.readouterr()
    for place, reason in places.items():
        assert main(["report", "run", "--out", place]) == 1
        assert capsys.readouterr().err == f"gpucnn report: {place}: cannot be written ({reason}\n"


def test_a_training_without_one_imports_nothing_of_it() -> None:
    found = loaded("train", "--help")
    assert "gpucnn.cli.train" in found
    assert not [name for name in found if name.startswith(("gpucnn.report", "gpucnn.plot", "matplotlib", "jinja2"))]
