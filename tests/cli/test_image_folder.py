"""Images of one's own through the commands: train, evaluate, predict."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.cli.main import main
from tests.data.image_files import save, write_two_classes


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_classes(tmp_path_factory.mktemp("images"), 20)


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *settings(images), "--normalize", "--augment", "none", "--out", str(folder)]) == 0
    return folder


def settings(images: Path) -> list[str]:
    return f"--data folder --data-dir {images} --model mlp --epochs 2 --batch-size 8 --device cpu --quiet".split()


def test_the_run_knows_its_images(run: Path, images: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert (config["data"], config["data_dir"], config["mode"]) == ("folder", str(images), "rgb")
    assert (config["image_size"], config["class_names"]) == (28, ["dark", "light"])
    preprocess = config["preprocess"]
    assert (preprocess["channels"], preprocess["image_size"], preprocess["fit"]) == (3, 28, "crop")
    assert len(preprocess["mean"]) == 3
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["test_correct"], summary["test_total"]) == (6, 6)


def test_evaluate_names_the_worst_files(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--worst", "2", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "test accuracy 1.0000 (6/6)"
    for sample in json.loads(file.read_text())["worst"]:
        assert sample["file"].startswith(f"{images}/{sample['label']}/")
        assert Path(sample["file"]).name in text


def test_predict_sees_what_training_saw(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sides of a long image are cut off; squeezed into a square, they would be most of it."""
    pixels = np.full((32, 320, 3), 255)
    pixels[:, 144:176] = np.random.default_rng(0).integers(0, 100, (32, 32, 3))
    long, square = save(tmp_path / "long.png", pixels), save(tmp_path / "square.png", pixels[:, 144:176])
    assert main(["predict", str(run), str(long), str(square), "--device", "cpu"]) == 0
    answers = [line.split()[1:] for line in capsys.readouterr().out.splitlines()]
    assert answers[0] == answers[1]
    assert answers[0][0] == "dark"


def test_other_images_and_other_classes(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "more")
    assert main(["evaluate", str(run), "--device", "cpu", "--data-dir", str(tmp_path / "more")]) == 0
    (tmp_path / "more" / "light").rename(tmp_path / "more" / "bright")
    capsys.readouterr()
    assert main(["evaluate", str(run), "--device", "cpu", "--data-dir", str(tmp_path / "more")]) == 1
    said = "has folders that are not classes of the training images: bright; rename or remove them; the classes are dark, light"
    assert capsys.readouterr().err == f"gpucnn evaluate: {tmp_path / 'more'}: {said}\n"


def test_grey_images_and_threads_that_change_nothing(images: Path, tmp_path: Path) -> None:
    metrics = []
    for workers in ("0", "2"):
        out = tmp_path / workers
        options = ["--mode", "grey", "--image-size", "12", "--workers", workers, "--out", str(out)]
        assert main(["train", *settings(images), *options]) == 0
        metrics.append((out / "metrics.jsonl").read_text())
        config = json.loads((out / "config.json").read_text())
        assert (config["augment"], config["create"]["in_channels"], config["create"]["image_size"]) == ([], 1, 12)
        assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("--data folder", 1, "data/folder: no such folder; name the one that holds a folder of images for each class"),
        ("--data folder --data-dir nowhere", 1, "nowhere: no such folder; name the one that holds"),
        ("--data folder --data-dir empty", 1, "empty: no class folders in it; expected two or more"),
        ("--data folder --data-dir half", 1, "half: has class folders in train, but no folder test; add half/test, or give half/train"),
        ("--data folder --data-dir half/train/dark", 1, "half/train/dark: no class folders in it, but 2 images; expected two or more, .*/1.png; or give half/train, if dark is one of the classes; folders are"),
        ("--data half/train/dark/000.png", 1, "half/train/dark/000.png: a file, not a folder; name the one that holds a folder of"),
        ("--data folder --data-dir damaged", 1, r"damaged: 10 of 10 images cannot be read: a/0.png, a/1.png, .*, b/4.png; gpucnn data damaged says why; put them back whole, remove them, or leave them out with --skip-unreadable$"),
        ("--data folder --mode gray", 2, "argument --mode: unknown name 'gray', expected one of rgb, grey; did you mean grey?"),
        ("--data mnist --mode grey", 1, "mode is grey, but the images of mnist are as they are; leave it out, or choose data folder"),
    ],
)  # fmt: skip
def test_wrong_folders(
    command: str, status: int, said: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    write_two_classes(Path("half/train"), 2)
    for name in ("a", "b"):
        Path("damaged", name).mkdir(parents=True)
        for number in range(5):
            Path("damaged", name, f"{number}.png").write_text("no image")
    try:
        found = main(["train", *command.split(), "--batch-size", "1", "--quiet", "--device", "cpu"])
    except SystemExit as exit:
        found = int(exit.code or 0)
    assert found == status
    *_, last = capsys.readouterr().err.splitlines()
    assert re.match(f"gpucnn train: {said}", last)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_are_told_of_and_never_waited_for(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_two_classes(Path("photos"), 5)
    for name in ("photos/dark/pipe.png", "run.toml", "train-images-idx3-ubyte"):
        os.mkfifo(name)
    assert main(["train", *settings(Path("photos")), "--out", "out"]) == 0
    assert capsys.readouterr().err == "gpucnn train: left out: 1 named pipe\n"
    assert main(["train", "--config", "run.toml"]) == 1
    assert capsys.readouterr().err == "gpucnn train: run.toml: cannot be read (a named pipe, expected a file)\n"
    assert main(["train", "--data", "mnist", "--data-dir", ".", "--device", "cpu"]) == 1
    assert "gpucnn train: no train-images-idx3-ubyte" in capsys.readouterr().err
    for name in ("config.json", "model.safetensors"):
        shutil.copytree(run, f"run of {name}")
        Path(f"run of {name}", name).unlink()
        os.mkfifo(f"run of {name}/{name}")
        for arguments in (["evaluate"], ["predict", "photos"]):
            assert main([arguments[0], f"run of {name}", *arguments[1:], "--device", "cpu"]) == 1
            assert f"/{name}: " in (said := capsys.readouterr().err)
            assert "a named pipe, expected a file" in said
    assert main(["runs", "."]) == 0
    assert capsys.readouterr().out.count("damaged") == 2


def test_a_folder_that_looks_whole_and_is_not(
    run: Path, images: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts that lack a class, a class of one image: each is told in a line, and nothing is refused."""
    for part in ("train", "test"):
        shutil.copytree(images, Path("photos") / part)
    shutil.rmtree("photos/test/light")
    for image in Path("photos/test/dark").iterdir():  # others than those to learn from
        Image.fromarray(np.asarray(Image.open(image)) ^ 1).save(image)
    for image in sorted(Path("photos/train/light").iterdir())[1:]:
        image.unlink()
    assert main(["train", *settings(Path("photos")), "--out", "out"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "gpucnn train: test has no images of light",
        "gpucnn train: train has only one image of light",
    ]
    assert main(["evaluate", "out", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "gpucnn evaluate: test has no images of light" in printed.err
    assert printed.out.splitlines()[-1].endswith("/20)")
