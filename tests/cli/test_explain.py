"""`gpucnn explain`: a picture a file, its name, what is printed, and files that cannot be read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.cli.explain import picture_files
from gpucnn.cli.main import main
from tests.cli.small_runs import save_digit, train

pytest.importorskip("matplotlib", reason="pictures need the extra plot")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run", "simplecnn")


def test_each_image_has_a_picture_and_a_line_and_what_cannot_be_read_is_named(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_digit(Path('images/it\'s <b>"7".png'), 0)
    save_digit(Path("images/deep/a.png"), 1)
    Path("images/cut.png").write_bytes(Path("images/deep/a.png").read_bytes()[:50])
    Path("images/notes.txt").write_text("no image")
    before = {path: path.read_bytes() for path in Path("images").rglob("*.*")}
    capsys.readouterr()
    assert main(["explain", str(run), "images", "nothing.png", "--out", "deep/er", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert main(["predict", str(run), "images", "--top", "3", "--device", "cpu"]) == 1
    answers = [line.split() for line in capsys.readouterr().out.splitlines()]
    lines = [line.split() for line in shown.out.splitlines()]
    assert len(lines) == 2
    for line, answer in zip(lines, answers, strict=True):
        assert line[: len(answer)] == answer
    assert sorted(os.listdir("deep/er")) == ["a-explained.png", 'it\'s <b>"7"-explained.png']
    assert shown.out.splitlines()[1].endswith("  deep/er/a-explained.png")
    assert "gpucnn explain: images/cut.png: not an image that can be read" in shown.err
    assert "gpucnn explain: nothing.png: no such image file" in shown.err
    assert "gpucnn explain: left out: 1 .txt" in shown.err
    assert {path: path.read_bytes() for path in Path("images").rglob("*.*")} == before
    _, name, probability, *_ = lines[1]
    with Image.open("deep/er/a-explained.png") as picture:
        assert picture.width > 1000
        assert picture.info["Description"].startswith(f"Top classes: {name} {float(probability):.2f}, ")


def test_a_layer_is_shown_alone(run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_digit(Path("a.png"), 1)
    assert main(["explain", str(run), "a.png", "--layer", "conv", "--device", "cpu"]) == 0
    with Image.open("explained/a-explained.png") as picture:
        assert "Grad-CAM of conv: " in picture.info["Description"]
        assert picture.info["Description"].endswith("Feature maps: conv, 8 maps of 26x26.")
    assert main(["explain", str(run), "a.png", "--layer", "cnov", "--device", "cpu"]) == 1
    assert "gpucnn explain: --layer: SimpleCNN has no layer 'cnov'; did you mean conv?" in capsys.readouterr().err


def test_light_and_dark_are_turned_round(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    monkeypatch.setattr("gpucnn.cli.explain.explanation", lambda run, image, layer, path: drawn.append(np.array(image)))
    save_digit(Path("a.png"), 1)
    with Image.open("a.png") as digit:
        digit.point(lambda value: 255 - value).save("ink.png")
    capsys.readouterr()
    assert main(["explain", str(run), "a.png", "--device", "cpu"]) == 0
    plain = capsys.readouterr()
    assert main(["explain", str(run), "ink.png", "--invert", "--device", "cpu"]) == 0
    turned = capsys.readouterr()
    np.testing.assert_allclose(drawn[1], drawn[0], atol=0.07)
    assert turned.out.split()[1] == plain.out.split()[1]
    assert "dark on light" not in plain.err + turned.err
    assert main(["explain", str(run), "ink.png", "--device", "cpu"]) == 0
    assert "ink.png is dark on light, and digits is light on dark; --invert turns" in capsys.readouterr().err


def test_every_picture_is_a_file_of_its_own_and_none_of_the_images(in_tmp_path: Path) -> None:
    Path("out").mkdir()
    Path("link").symlink_to("out")
    images = ["a.png", "deep/a.jpg", "deep/A.png", "link/a-explained.png", "out/b.c.npy", ".png", "x" * 250 + ".png"]
    found = picture_files(images, Path("out"))
    assert [path.as_posix() for path in found] == [
        "out/a-explained-2.png", "out/a-explained-3.png", "out/A-explained-4.png", "out/a-explained-explained.png",
        "out/b.c-explained.png", "out/.png-explained.png", f"out/{'x' * 180}-explained.png",
    ]  # fmt: skip


def test_a_name_as_long_as_can_be_has_its_picture_and_one_that_cannot_be_written_keeps_no_other_back(
    run: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "日" * 83  # 249 bytes; with the ending 253 of 255
    for name in ("a", long, "z"):
        save_digit(Path(f"images/{name}.png"), 1)
    Path("explained/a-explained.png").mkdir(parents=True)
    assert main(["explain", str(run), "images", "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert sorted(os.listdir("explained")) == ["a-explained.png", "z-explained.png", f"{'日' * 60}-explained.png"]
    assert "gpucnn explain: explained/a-explained.png: cannot be written (a folder)" in shown.err
    assert len(shown.out.splitlines()) == 2
    assert picture_files([b"\xe9.png".decode("utf-8", "surrogateescape")], Path()) == [
        Path(os.fsdecode(b"\xe9-explained.png"))
    ]


def test_without_matplotlib_the_line_of_pip_is_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "gpucnn", "explain", str(run), "a.png"], env=environment, capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == 'gpucnn explain: pictures need matplotlib (not here); pip install "gpucnn[plot]"\n'
