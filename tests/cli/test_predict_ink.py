"""`gpucnn predict` of ink on white paper, with a model that has learned from light digits on dark."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gpucnn.cli.main import main
from tests.cli.small_runs import save_digit, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


def predict(run: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[list[list[str]], list[str]]:
    """The answers without the files' names, and what was said on standard error beside the device."""
    assert main(["predict", str(run), *map(str, arguments), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    return [line.split()[1:] for line in printed.out.splitlines()], printed.err.splitlines()[1:]


def ink(path: Path, index: int) -> Path:
    """The digit at `index` as dark ink on white paper."""
    save_digit(path, index)
    with Image.open(path) as image:
        inverted = ImageOps.invert(image)
    inverted.save(path)
    return path


def test_ink_on_paper_is_noticed_and_invert_mends_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = [save_digit(tmp_path / "light" / f"{index}.png", index) for index in range(4)]
    dark = [ink(tmp_path / "dark" / f"{index}.png", index) for index in range(4)]
    right, said = predict(run, capsys, *light)
    assert said == []
    wrong, said = predict(run, capsys, *dark)
    assert wrong != right
    assert said == [
        f"gpucnn predict: 4 of 4 images, {dark[0]} the first, are dark on light, and digits is light on dark; --invert turns light and dark round"
    ]
    assert predict(run, capsys, *dark, "--invert") == (right, [])
    _, said = predict(run, capsys, light[1], "--invert")
    assert said == [
        f"gpucnn predict: {light[1]} is dark on light after --invert, and digits is light on dark; leave --invert out for what is light on dark"
    ]
    _, said = predict(run, capsys, light[0], dark[1])
    assert said[0].startswith(f"gpucnn predict: {dark[1]} is dark on light, and digits is light on dark; --invert")


def test_a_run_of_photos_may_have_them(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    for other in ("folder", "cifar10", "svhn", "of a later gpucnn"):
        config = {**json.loads((run / "config.json").read_text()), "data": other}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert predict(tmp_path, capsys, ink(tmp_path / "ink.png", 0))[1] == []


def test_ink_on_a_transparent_background(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    light = save_digit(tmp_path / "light.png", 3)
    with Image.open(light) as image:
        cover = image.convert("L")
    black = tmp_path / "black.png"
    Image.merge("LA", [Image.new("L", cover.size, 0), cover]).save(black)
    right, _ = predict(run, capsys, light)
    answers, said = predict(run, capsys, black)
    assert "black.png is dark on light" in said[0], "and not black on black"
    assert predict(run, capsys, black, "--invert") == (right, [])
    nothing, said = predict(run, capsys, black, "--background", "black")
    assert said == []
    np.save(tmp_path / "nothing.npy", np.zeros((8, 8), np.uint8))
    assert nothing == predict(run, capsys, tmp_path / "nothing.npy")[0]
    assert answers == predict(run, capsys, black, "--background", "white")[0]


def test_the_background_of_the_training_is_that_of_predict(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/3.png", "b/3.png"):
        path = Path("images", name)
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGBA", (8, 8 + int(name[2])), (0, 0, 0, 0 if name[0] == "a" else 255)).save(path)
    arguments = [
        "train",
        "--data",
        "folder",
        "--data-dir",
        "images",
        "--image-size",
        "28",
        "--model",
        "mlp",
        "--out",
        "run",
    ]
    assert main([*arguments, "--epochs", "1", "--quiet", "--device", "cpu", "--background", "white"]) == 0
    capsys.readouterr()
    assert json.loads(Path("run", "config.json").read_text())["background"] == "white"
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    capsys.readouterr()
    as_trained = predict(Path("run"), capsys, "images/a/1.png")
    assert as_trained == predict(Path("run"), capsys, "images/a/1.png", "--background", "white")
    assert as_trained != predict(Path("run"), capsys, "images/a/1.png", "--background", "black")
