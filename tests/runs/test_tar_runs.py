"""Runs on tars: the weights of a run on the folder of their images, resumed in the middle of one, and never measured on what was learned."""

import re
import shutil
from pathlib import Path

import pytest

from gpucnn import data
from gpucnn.cli.main import main
from gpucnn.data import file_stamp
from gpucnn.data.image_decoder import ImageDecoder
from gpucnn.errors import ConfigError
from gpucnn.runs.config import RunConfig
from gpucnn.runs.folder import RunFolder
from tests.data.image_files import write_two_classes
from tests.data.tar_files import write_tars

SETTINGS = ["--model", "mlp", "--image-size", "6", "--epochs", "3", "--batch-size", "4", "--device", "cpu", "--checkpoint-every", "1", "--keep", "99"]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_two_classes(tmp_path / "photos", 12, 6)
    write_tars(tmp_path / "tars", tmp_path / "photos", 4)
    return tmp_path / "photos"


def train(out: str, *more: str) -> bytes:
    """The weights of a run into the folder `out`."""
    assert main(["train", *SETTINGS, "--out", out, *more]) == 0
    return RunFolder(out).model_file.read_bytes()


def test_weights_are_those_of_the_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("a", "--data", "photos") == train("b", "--data", "tars", "--workers", "2")
    capsys.readouterr()
    for run, place in (("a", "tars"), ("b", "photos")):
        assert main(["evaluate", run, "--data-dir", place]) == 0
        out, err = capsys.readouterr()
        assert re.search(r"\d+ of its images are left out, as the run was trained on them", err)
        assert f"images in {place}" in out
    assert main(["predict", "b", "tars"]) == 0
    assert capsys.readouterr().out.count("photos-00") == 24


@pytest.mark.parametrize("shuffle", ["full", "window:2"])
def test_it_resumes_in_the_middle_of_a_tar(shuffle: str, photos: Path) -> None:
    whole = train("whole", "--data", "tars", "--shuffle", shuffle)
    for step in (2, 7):
        shutil.copytree("whole", f"to {step}")
        folder = RunFolder(f"to {step}")
        for path in folder.checkpoints.path.iterdir():  # as if it had been killed then
            if int("".join(filter(str.isdigit, path.stem))) > step:
                path.unlink()
        folder.model_file.unlink()
        folder.summary_file.unlink()
        assert main(["train", "--resume", f"to {step}"]) == 0
        assert folder.model_file.read_bytes() == whole


def test_windows_change_the_order_alone(photos: Path) -> None:
    assert train("a", "--data", "tars", "--shuffle", "window:1") != train("b", "--data", "tars")
    assert RunFolder("a").read_config()["shuffle"] == "window:1"
    assert isinstance(data.load("tars", image_size=6), data.Splits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shuffle": "window:2"}, "shuffle is window:2, but digits is in no tars; leave it out, or choose data folder"),
        ({"shuffle": "window:2", "data": "folder", "balance": True}, "shuffle is window:2, but with balance images are drawn from all tars; leave one of them out"),
        ({"shuffle": "window"}, "shuffle: window needs files"),
        ({"shuffle": "window:0"}, "shuffle: .*must be an int >= 1, got 0"),
        ({"shuffle": "none"}, "shuffle: unknown name 'none', expected one of full, window"),
    ],
)  # fmt: skip
def test_what_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**settings)  # type: ignore[arg-type]


def test_parts_are_named_where_they_have_folders_of_their_own(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        shutil.copytree("tars", f"apart/{part}")
        for path in Path("tars").glob("*.tar"):
            Path("together").mkdir(exist_ok=True)
            shutil.copy(path, f"together/{part}-{path.name}")
    for place, train_part, test_part in (("apart", " (train)", " (test)"), ("together", "", "")):
        capsys.readouterr()
        train(f"run {place}", "--data", place, "--epochs", "1")
        assert (
            f"\ndata: 24 images to learn from{train_part}, 24 to test{test_part}; 6x6 rgb\n" in capsys.readouterr().out
        )


def test_a_cache_of_the_run_is_used_again(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamp, "SETTLED", -1)
    train("run", "--data", "tars", "--cache", "cache", "--epochs", "1")
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    expected = capsys.readouterr()

    def decode(*_: object) -> None:
        raise AssertionError("is decoded once more")

    with monkeypatch.context() as patch:
        patch.setattr(ImageDecoder, "__call__", decode)
        assert main(["evaluate", "run"]) == 0
        assert capsys.readouterr() == expected
    shutil.rmtree("cache")  # as on another machine
    assert main(["evaluate", "run"]) == 0
    assert capsys.readouterr() == expected
    assert not Path("cache").exists()
