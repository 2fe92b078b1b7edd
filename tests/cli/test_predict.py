"""`gpucnn predict`: files, folders, damaged files, and the files it writes. `test_commands` has the kinds of files."""

import csv
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import Tensor, data, no_grad
from gpucnn.cli.main import main
from gpucnn.runs import trained_run
from gpucnn.text_table import columns
from gpucnn.training import RunFolder
from tests.cli.processes import on_a_terminal
from tests.cli.small_runs import save_digit, train
from tests.data.tar_files import tar

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images at several depths, and what is none."""
    folder = tmp_path / "images"
    for index, name in enumerate(["b.png", "a.PNG", "deep/er/c.jpg", "deep/d.bmp", ".hidden/e.png", "._f.png"]):
        save_digit(folder / name, index)
    (folder / "notes.txt").write_text("no image")
    return folder


def answers(text: str) -> list[list[str]]:
    return [line.split("  ") for line in text.splitlines()]


@pytest.mark.parametrize(
    ("image_size", "message"),
    [
        (29, "its preprocess does not fit the model (hidden (Linear): expected input (N, 784), got (1, 841)"),
        (2**61, "no valid entry 'preprocess' (image_size must be below 2^31, got 2305843009213693952)"),
        (2**30, "its preprocess does not fit the model ("),
    ],
)
def test_a_preprocess_that_does_not_fit_the_model_is_named(
    image_size: int, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["preprocess"]["image_size"] = image_size
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert main(["predict", str(tmp_path / "run"), "image.png"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"gpucnn predict: {tmp_path}/run/config.json: {message}")


def test_folders_are_searched_in_order(run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = str(images / "b.png")
    assert main(["predict", str(run), str(images), single, "--device", "cpu"]) == 0
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert found == [*(str(images / name) for name in ("a.PNG", "b.png", "deep/d.bmp", "deep/er/c.jpg")), single]


def test_a_link_to_its_own_folder_is_no_endless_way(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "loop").symlink_to(images)
    assert main(["predict", str(run), str(images), "--device", "cpu"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_batches_change_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(11):
        save_digit(tmp_path / "many" / f"{index:02}.png", index)
    outputs = []
    for size in (1, 4, 64):
        monkeypatch.setattr(trained_run, "BATCH", size)
        assert main(["predict", str(run), str(tmp_path / "many"), "--device", "cpu"]) == 0
        printed = capsys.readouterr()
        assert printed.err == "device: cpu (asked for)\n"
        outputs.append(printed.out)
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0].count("\n") == 11


def test_the_best_answers_are_those_of_the_model(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_digit(tmp_path / "digit.png", 7)
    splits = data.load("digits", image_size=RunFolder(run).load_preprocess().image_size)
    with no_grad():
        logits = RunFolder(run).load_model()(Tensor(splits.test[[7]][0])).numpy()[0].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-probabilities)
    for top in (1, 3, 10):
        assert main(["predict", str(run), str(path), "--device", "cpu", "--top", str(top)]) == 0
        name, *cells = answers(capsys.readouterr().out)[0]
        assert name == str(path)
        assert cells[::2] == [str(place) for place in order[:top]]
        assert [float(cell) for cell in cells[1::2]] == pytest.approx(probabilities[order[:top]], abs=2e-4)
    assert main(["predict", str(run), str(path), "--device", "cpu", "--top", "99"]) == 0
    assert len(answers(capsys.readouterr().out)[0]) == 1 + 20


def test_a_damaged_file_is_named_and_the_rest_goes_on(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "aa.png").write_text("no image")
    (images / "deep" / "z.png").write_bytes((images / "b.png").read_bytes()[:40])
    files = {kind: tmp_path / f"found.{kind}" for kind in ("csv", "json")}
    command = ["predict", str(run), str(images), str(images / "gone.png"), "--device", "cpu", "--top", "2"]
    assert main([*command, "--csv", str(files["csv"]), "--json", str(files["json"])]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    errors = printed.err.splitlines()
    assert errors[0] == "device: cpu (asked for)"
    assert errors[1].startswith(f"gpucnn predict: {images / 'aa.png'}: not an image that can be read (")
    assert errors[2].startswith(f"gpucnn predict: {images / 'deep' / 'z.png'}: not an image that can be read (")
    assert errors[3] == f"gpucnn predict: {images / 'gone.png'}: no such image file"
    assert errors[4:] == ["gpucnn predict: left out: 2 hidden, 1 .txt"]

    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(files["json"].read_text())
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2", "error"]
    assert [row["file"] for row in rows] == [one["file"] for one in content]
    assert [Path(row["file"]).name for row in rows] == [
        "a.PNG", "aa.png", "b.png", "d.bmp", "z.png", "c.jpg", "gone.png",
    ]  # fmt: skip
    for row, one in zip(rows, content, strict=True):
        if "error" in one:
            assert row["error"] == one["error"]
            assert not row["class"]
        else:
            assert row["error"] == ""
            assert [row["class"], row["class_2"]] == [answer["class"] for answer in one["answers"]]
            assert float(row["probability"]) == one["answers"][0]["probability"] > one["answers"][1]["probability"]
    assert rows[6]["error"] == f"{images / 'gone.png'}: no such image file"


def pack(images: Path, folder: Path, kind: str) -> list[str]:
    """Write digits into a packed file, without labels that are any, and give the paths of them there."""
    files = sorted(images.iterdir())
    folder.mkdir()
    if kind == "tar":
        (folder / "test").mkdir()
        (folder / "test" / "a.tar").write_bytes(tar({file.name: file.read_bytes() for file in files}))
        return [f"{folder}/test/a.tar/{file.name}" for file in files]
    if kind == "parquet":
        table = pytest.importorskip("pyarrow").table({"image": [file.read_bytes() for file in files]})
        (folder / "data").mkdir()
        pytest.importorskip("pyarrow.parquet").write_table(
            table, folder / "data" / "train-00000-of-00001.parquet", row_group_size=2
        )
        return [f"{folder}/data/train-00000-of-00001.parquet/row {place}" for place in range(len(files))]
    np.save(folder / "images.npy", np.stack([np.asarray(Image.open(file)) for file in files]))
    np.save(folder / "labels.npy", np.full(len(files), "unknown"))
    return [f"{folder}/images.npy/{place}.npy" for place in range(len(files))]


@pytest.mark.parametrize("kind", ["tar", "parquet", "npy"])
def test_images_in_a_packed_file_are_those_of_the_files(
    kind: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(5):
        save_digit(tmp_path / "files" / f"{index}.png", index)
    expected = [answer for _, answer in sorted(gpucnn.load(run).predict(tmp_path / "files").items())]
    paths = pack(tmp_path / "files", tmp_path / "packed", kind)
    assert gpucnn.load(run).predict(tmp_path / "packed") == dict(zip(paths, expected, strict=True))
    assert gpucnn.load(run).predict(paths[::-1]) == expected[::-1]
    assert main(["predict", str(run), str(tmp_path / "packed"), paths[3], "--device", "cpu"]) == 0
    found = [line[:2] for line in answers(capsys.readouterr().out)]
    assert [(name.strip(), answer) for name, answer in found] == [
        (path, answer[0][0]) for path, answer in zip([*paths, paths[3]], [*expected, expected[3]], strict=True)
    ]
    gone = f"{paths[0]}x.png"
    assert main(["predict", str(run), gone, os.path.dirname(paths[0]), "--device", "cpu"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"gpucnn predict: {gone}: no such image file"
    if kind != "npy":
        what = "it is a tar" if kind == "tar" else "it is a Parquet file"
        assert second.endswith(f"; {what}; give the folder that it is in")


def test_a_tar_that_is_written_anew_is_read_anew(run: Path, tmp_path: Path) -> None:
    trained, place = gpucnn.load(run), tmp_path / "a.tar"
    for index in (1, 2):
        file = save_digit(tmp_path / f"{index}.png", index)
        place.write_bytes(tar({"x.png": file.read_bytes(), "y.png": b"x" * index}))
        assert trained.predict(place / "x.png") == trained.predict(file)


def test_a_damaged_tar_is_named_and_the_rest_goes_on(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "a.tar").write_bytes(tar({"a.png": b"x" * 600})[:700])
    (images / "b.tar").write_bytes(tar({"a.png": (images / "b.png").read_bytes()}))
    assert main(["predict", str(run), str(tmp_path / "tars"), str(images), "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    said = printed.err.splitlines()
    assert said[0].startswith(
        f"gpucnn predict: {tmp_path}/tars/a.tar: a.png is promised to have 600 bytes, of which 188 are there; "
    )
    assert said[-1] == "gpucnn predict: left out: 2 hidden, 1 .tar (read only in a folder of their own), 1 .txt"


def test_nothing_but_an_empty_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(run), str(tmp_path / "empty"), "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    message = f"{tmp_path / 'empty'}: no images in this folder; give a folder with files that end in .png, .jpg or .npy"
    assert (printed.out, printed.err) == ("", f"gpucnn predict: {message}\n")


def test_a_file_name_that_is_no_text(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    os.rename(save_digit(tmp_path / "digit.png", 0), name)
    found = tmp_path / "found.csv"
    assert main(["predict", str(run), name, "--device", "cpu", "--csv", str(found), "--json", str(tmp_path / "j")]) == 0
    assert os.fsencode(name) in found.read_bytes()
    assert json.loads((tmp_path / "j").read_text())[0]["file"] == name


def test_a_bar_on_a_terminal_and_a_clean_table_elsewhere(run: Path, images: Path) -> None:
    command = [sys.executable, "-m", "gpucnn", "predict", str(run), str(images), "--device", "cpu"]
    shown = on_a_terminal(command, {**os.environ, "PYTHONPATH": str(ROOT)}, images)
    assert (shown.status, b"image/s" in shown.on_terminal) == (0, True)
    assert len(shown.printed.splitlines()) == 4
    assert "\r" not in shown.printed


def test_what_is_no_file_is_named_and_never_waited_for(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder it is left out; asked for by name, it is an error like any other."""
    save_digit(Path("images/a.png"), 1)
    os.mkfifo("images/pipe.png")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("images/socket.png")
    Path("images/zero.png").symlink_to("/dev/zero")
    Path("images/cat.png").mkdir()
    save_digit(Path("images/cat.png/b.png"), 2)
    assert main(["predict", str(run), "images", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["images/a.png", "images/cat.png/b.png"]
    assert printed.err.splitlines()[1:] == ["gpucnn predict: left out: 1 device, 1 named pipe, 1 socket"]

    Path("images/loop.png").symlink_to("loop.png")
    Path("images/nothing.png").symlink_to("nowhere.png")
    names = [f"images/{name}.png" for name in ("pipe", "socket", "zero", "loop", "nothing")]
    assert main(["predict", str(run), *names, "images/a.png", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert [line for line in printed.err.splitlines() if not line.startswith("device")] == [
        "gpucnn predict: images/pipe.png: cannot be read (a named pipe, expected a file)",
        "gpucnn predict: images/socket.png: cannot be read (a socket, expected a file)",
        "gpucnn predict: images/zero.png: cannot be read (a device, expected a file)",
        "gpucnn predict: images/loop.png: cannot be read (Too many levels of symbolic links)",
        "gpucnn predict: images/nothing.png: no such image file",
    ]
    assert main(["predict", str(run), "images", "--device", "cpu"]) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if "png" in line] == [
        "gpucnn predict: images/loop.png: cannot be read (Too many levels of symbolic links)",
        "gpucnn predict: images/nothing.png: a link that leads to no file",
    ]


def test_folders_that_cannot_be_listed(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "er":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert main(["predict", str(run), str(images), str(images / "deep" / "er"), "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    said = f"gpucnn predict: {images / 'deep' / 'er'}: cannot be listed (Permission denied)"
    assert printed.err.splitlines()[1:3] == [said, said]


@pytest.mark.parametrize("given", ["images", "./images", "images/", "images/../images"])
def test_files_are_called_as_their_folder_was(
    given: str, run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_digit(Path("images/deep/a.png"), 1)
    assert main(["predict", str(run), given, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split()[0] == os.path.join(given, "deep", "a.png")


def test_names_do_nothing_to_the_terminal(run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_digit(Path("images/\x1b[31mred.png"), 1)
    save_digit(Path("images/日本.png"), 1)
    assert main(["predict", str(run), "images", "--device", "cpu"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == r"images/\x1b[31mred.png"
    assert columns(first) == columns(second)
