"""A written predictor needs NumPy alone, reads well, gives the run's answers, and says what is wrong."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpucnn
from gpucnn import models
from gpucnn.data import Preprocess
from gpucnn.data.digits import read_digits
from gpucnn.errors import ArgumentError, GraphError, RunError
from gpucnn.export import numpy_predictor
from gpucnn.export.numpy_file import predictor as template
from gpucnn.layers import Conv2d, Layer
from gpucnn.runs.trained_run import TrainedRun, Weights
from tests.cli.small_runs import train
from tests.export.written_network import imported

ALONE = """
import sys
for name in ("gpucnn", "PIL", "safetensors", "threadpoolctl", "tqdm", "onnx"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
import digits
given = np.load(sys.argv[2])
np.save(sys.argv[3], digits.probabilities(given[..., None]))
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
own = {name for name in loaded if name not in sys.stdlib_module_names and not name.startswith("_")}
print(sorted(own - {"numpy", "digits", "sitecustomize", "usercustomize"}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("digits") / "run", "lenet5")


@pytest.fixture(scope="module")
def written(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numpy_predictor(gpucnn.load(run, device="cpu"), tmp_path_factory.mktemp("written") / "digits.py").code


def hand_made(folder: Path, preprocess: Preprocess, classes: tuple[str, ...], model: Layer | None = None) -> TrainedRun:
    """As `gpucnn.load` gives it, of weights that were never trained."""
    create = {"name": "lenet5", "num_classes": len(classes)}
    model = model or models.LeNet5(len(classes), preprocess.channels, seed=4)
    return TrainedRun(model.eval(), preprocess, classes, {"create": create, "data": "folder"}, Weights("last", folder / "model.safetensors", {}))  # fmt: skip


def as_bytes() -> np.ndarray:
    counts: np.ndarray = read_digits()[2][:, 0]
    return np.rint(counts * (255 / 16)).astype(np.uint8)


def test_it_needs_numpy_alone_and_gives_the_answers_of_the_run_to_all_test_digits(
    run: Path, written: Path, tmp_path: Path
) -> None:
    images = as_bytes()
    assert images.shape == (360, 8, 8)
    np.save(tmp_path / "images.npy", images)
    places = (written.parent, tmp_path / "images.npy", tmp_path / "found.npy")
    done = subprocess.run([sys.executable, "-c", ALONE, *map(str, places)], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "[]\n")
    found, trained = np.load(tmp_path / "found.npy"), gpucnn.load(run, device="cpu")
    answers = trained.predict(images[..., None], top=10)
    expected = np.array([[dict(answer)[name] for name in trained.class_names] for answer in answers])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert (found.argmax(1) == expected.argmax(1)).all()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(1, 28, 32, 255, "pad", (0.13,), (0.31,)),
        Preprocess(3, 32, 32, 255, "crop", (0.4914008390000001, 0.48215840000000003, 0.4465309123456789), (0.2, 0.3, 0.25)),
        Preprocess(3, 20, 32, 255, "resize"),
        Preprocess(1, 8, 32, 16, "resize"),
    ],
)  # fmt: skip
def test_photos_of_several_sizes_get_the_answers_of_the_run(
    preprocess: Preprocess, tmp_path: Path, rng: np.random.Generator
) -> None:
    trained = hand_made(tmp_path, preprocess, ("ant", "bee", "cat"))
    written = imported(numpy_predictor(trained, tmp_path / "photos.py").code)
    shapes = [(40, 31), (33, 90, 3), (120, 17, 3), (8, 8, 1), (50, 61, 4), (1, 1)]
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    for found, expected in zip(written.predict(images), trained.predict(images), strict=True):
        assert [name for name, _ in found] == [name for name, _ in expected]
        np.testing.assert_allclose([share for _, share in found], [share for _, share in expected], rtol=0, atol=1e-5)
    images = [one for one in images if min(one.shape[:2]) > 4]
    inverted = trained.predict(images, invert=True)
    assert inverted != trained.predict(images)
    for found, expected in zip(written.predict(images, invert=True), inverted, strict=True):
        assert [name for name, _ in found] == [name for name, _ in expected]
        np.testing.assert_allclose([share for _, share in found], [share for _, share in expected], rtol=0, atol=1e-5)
    assert [name for name, _ in written.predict(images[1], top=1)] == [trained.predict(images[1])[0][0]]
    assert [len(one) for one in written.predict(np.zeros((2, 9, 9, 3), np.uint8), top=2)] == [2, 2]
    assert written.predict([]) == []
    assert written.probabilities([images[0]] * 65).shape == (65, 3)


def test_the_text_is_what_a_linter_wants_and_says_where_it_is_from(run: Path, written: Path) -> None:
    text = written.read_text()
    names = {part.name for part in ast.parse(text).body if isinstance(part, ast.FunctionDef)}
    assert {"predict", "probabilities", "logits", "preprocess", "conv2d", "max_pool2d", "linear", "relu"} <= names
    assert not {"batch_norm", "avg_pool2d", "with_margin", "middle", "gelu"} & names
    said = ast.get_docstring(ast.parse(text)) or ""
    (row,) = gpucnn.runs.folder.RunFolder(run).read_metrics()[-1:]
    assert f"- run: {run.name}, trained on digits" in said
    assert f"of epoch {row['epoch']}, test accuracy {row['test_accuracy']:.4f}" in said
    assert f"- written by: gpucnn {gpucnn.__version__}" in said
    assert "digits.npz has the weights" in said
    assert all(len(line) <= 88 for line in text.splitlines())
    if ruff := shutil.which("ruff", path=Path(sys.executable).parent):
        for arguments in (["check", "--isolated"], ["format", "--isolated", "--check"]):
            done = subprocess.run([ruff, *arguments, str(written)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_the_same_run_gives_the_same_bytes(run: Path, written: Path, tmp_path: Path) -> None:
    again = numpy_predictor(gpucnn.load(run, device="cpu"), tmp_path / "digits.py")
    numpy_predictor(gpucnn.load(run, device="cpu"), again.code)  # in the place of ours
    assert again.code.read_bytes() == written.read_bytes()
    assert again.weights.read_bytes() == written.with_suffix(".npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.npz", "digits.py"]
    with np.load(again.weights, allow_pickle=False) as arrays:
        assert set(arrays) == set(gpucnn.load(run, device="cpu").model.state_dict())


def test_weights_that_are_missing_damaged_or_of_another_are_refused(written: Path, tmp_path: Path) -> None:
    code, weights = shutil.copy(written, tmp_path), tmp_path / "digits.npz"
    module, image = imported(Path(code)), np.zeros((8, 8), np.uint8)
    with pytest.raises(FileNotFoundError, match=r"digits\.npz: missing; it has the weights of .*digits\.py"):
        module.predict(image)
    content = written.with_suffix(".npz").read_bytes()
    for wrong in (content[:-1], content.replace(b"\x3e", b"\x3f", 1), b""):
        weights.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"digits\.npz: not those of digits\.py, or damaged; keep the two"):
            module.predict(image)
    weights.write_bytes(content)
    assert len(module.predict(image)) == 5


def test_it_is_a_command_of_its_own(
    run: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digit = as_bytes()[0]
    np.save(tmp_path / "digit.npy", digit)
    Image.fromarray(digit).save(tmp_path / "digit.png")
    Image.fromarray(255 - digit).save(tmp_path / "ink.png")
    (tmp_path / "text.png").write_text("no image")
    name, share = gpucnn.load(run, device="cpu").predict(digit)[0]
    files = [str(tmp_path / name) for name in ("digit.npy", "digit.png", "text.png", "gone.npy")]
    module = imported(written)
    assert module.main(files) == 1
    told, warned = capsys.readouterr()
    assert [line.split("  ")[1] for line in told.splitlines()] == [f"{name} {share:.4f}"] * 2
    assert "text.png: cannot identify image file" in warned
    assert "gone.npy: [Errno 2] No such file" in warned
    assert module.main(["--invert", str(tmp_path / "ink.png")]) == 0
    assert capsys.readouterr().out.split("  ")[1] == f"{name} {share:.4f}"
    assert module.main([]) == 2
    assert capsys.readouterr().err == "usage: python digits.py [--invert] IMAGE ...\n"
    without_pillow = "import runpy, sys; sys.modules['PIL'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", without_pillow, str(written), *files[:2]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    assert "digit.png: without Pillow only .npy files are read: pip install pillow" in done.stderr


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "names",
    [('"', "'", "\\", '"""', "\\'"), ("\n", "\u202e", "{x}", "é\x00"), tuple(f"class {one}" for one in range(40))],
)
def test_hostile_class_names_come_through(names: tuple[str, ...], tmp_path: Path) -> None:
    trained = hand_made(tmp_path, Preprocess(1, 8, 32, 16, "resize"), names)
    trained.config["data_dir"] = '/a """ \\ folder\n'
    written = imported(numpy_predictor(trained, tmp_path / "odd.py").code)
    assert names == written.CLASSES


class Strange(Layer):
    def __init__(self, function: Any) -> None:
        self.function, self.conv = function, Conv2d(1, 2, 32, bias=False)

    def forward(self, x: Any) -> Any:
        return self.function(self.conv(x))


OF_MANY = (
    (lambda x: x.reshape(-1, 2) * (1.0 + len(x) // 8), "the file's answers are not the run's, so that no file is written: "),
    (lambda x: x.reshape(-1, 2)[: len(x) - len(x) // 8], r"the file gives \(17, 2\) where the run gives \(15, 2\), so that no file"),
    (lambda x: x.reshape(-1, 2)[:6] + np.ones((min(len(x), 6), 2), np.float32), r"the file fails for images \(17, "),
)  # fmt: skip
"""What depends on the number of images in a way that two and five of them do not show."""


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, r"tells which of 2 classes an image is of, and the model gives \(N, 2, 1, 1\)"),
        (lambda x: x.reshape(-1, 2) * np.float32(np.nan), "answers to an image are not finite numbers"),
        (lambda x: gpucnn.functions.mse_loss(x, x + 1), "no mse_loss; it is a loss"),
        *OF_MANY,
    ],
)
def test_a_model_that_cannot_be_written_leaves_no_file(function: Any, message: str, tmp_path: Path) -> None:
    trained = hand_made(tmp_path, Preprocess(1, 8, 32, 16, "resize"), ("a", "b"), Strange(function))
    with pytest.raises(GraphError, match=message):
        numpy_predictor(trained, tmp_path / "odd.py")
    assert not list(tmp_path.iterdir())


def test_places_that_are_others_are_refused(tmp_path: Path) -> None:
    trained = hand_made(tmp_path, Preprocess(1, 8, 32, 16, "resize"), ("a", "b"))
    with pytest.raises(ArgumentError, match=r"must end in \.py, got .*x\.txt"):
        numpy_predictor(trained, tmp_path / "x.txt")
    for name in ("numpy", "hashlib", "PIL"):
        with pytest.raises(ArgumentError, match=rf"{name}\.py: would be taken for the module {name} by the programs"):
            numpy_predictor(trained, tmp_path / f"{name}.py")
    with pytest.raises(RunError, match="cannot be written"):
        numpy_predictor(trained, tmp_path / "nowhere" / "x.py")
    for name in ("own.py", "own.npz"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ArgumentError, match=rf"{name}: holds something else than a predictor of gpucnn"):
            numpy_predictor(trained, tmp_path / "own.py")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_the_parts_of_which_files_are_made_are_a_predictor_themselves() -> None:
    light, dark = np.full((4, 4), 250, np.uint8), np.zeros((4, 4, 3), np.uint8)
    assert template.predict(light, top=1)[0][0] == "light"
    assert [one[0][0] for one in template.predict([light, dark])] == ["light", "dark"]


def test_a_run_of_another_decoder_is_refused(tmp_path: Path) -> None:
    trained = hand_made(tmp_path, Preprocess(1, 32, 32, 255, "crop"), ("a", "b"))
    trained.config["decode"] = "pillow-draft"
    message = "decoded by pillow-draft, and a predictor reads files with decode pillow, .*; export it as onnx, .* --decode pillow"
    with pytest.raises(ArgumentError, match=message):
        numpy_predictor(trained, tmp_path / "odd.py")
    assert not list(tmp_path.iterdir())
