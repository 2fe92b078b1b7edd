"""`gpucnn summary` as a user runs it."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucnn import models
from gpucnn.cli.main import main
from gpucnn.kernels import ways

pytestmark = pytest.mark.usefixtures("wide_terminal")


@pytest.fixture(autouse=True)
def plain_numpy() -> Iterator[None]:
    with ways.use("numpy"):
        yield


LENET5 = """\
layer    kind       output shape     parameters  multiply-adds  activation bytes  im2col bytes
----------------------------------------------------------------------------------------------
input               (N, 1, 32, 32)
conv1    Conv2d     (N, 6, 28, 28)          156        117,600            18,816        78,400
pool1    MaxPool2d  (N, 6, 14, 14)            0              0             4,704             0
conv2    Conv2d     (N, 16, 10, 10)       2,416        240,000            11,104        60,000
pool2    MaxPool2d  (N, 16, 5, 5)             0              0             1,600             0
flatten  Flatten    (N, 400)                  0              0                 0             0
fc1      Linear     (N, 120)             48,120         48,000             2,080             0
fc2      Linear     (N, 84)              10,164         10,080               336             0
output   Linear     (N, 10)                 850            840                 0             0
----------------------------------------------------------------------------------------------
total                                    61,706        416,520            38,640       138,400
activation bytes: what is kept of each image from the forward to the backward pass
im2col bytes: what a convolution's columns of an image would take at once; in tiles they take 3,145,728 a thread at most
"""


def largest_batch(output: str) -> int:
    found = re.search(r"^the largest batch that fits into [\d.,]+ MB: (\d+)$", output, re.MULTILINE)
    assert found
    return int(found[1])


def test_lenet5_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5", "--input", "1x32x32"]) == 0
    assert capsys.readouterr().out == LENET5


def test_input_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "simplecnn", "--input", "3x32x32", "--classes", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split(maxsplit=1) == ["input", "(N, 3, 32, 32)"]
    assert "(N, 7)" in lines[-5]


def test_the_picture_is_of_the_model_that_is_shown(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet20", "--input", "1x8x8", "--classes", "7", "--svg", "model.svg"]) == 0
    picture = (in_tmp_path / "model.svg").read_text()
    assert picture == models.create("resnet20", 7, 1, 8).diagram()
    assert "(N, 7)" in picture
    assert "images (N, 1, 8, 8)" in picture
    without = capsys.readouterr().out
    assert main(["summary", "resnet20", "--input", "1x8x8", "--classes", "7"]) == 0
    assert capsys.readouterr().out == without


def test_a_picture_is_replaced_as_a_whole_or_stays(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("model.svg").write_text("an earlier one")

    def full(handle: int) -> None:
        assert Path("model.svg").read_text() == "an earlier one"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["summary", "lenet5", "--svg", "model.svg"]) == 1
    assert "gpucnn summary: model.svg: cannot be written (No space left on device)" in capsys.readouterr().err
    assert Path("model.svg").read_text() == "an earlier one"
    assert os.listdir() == ["model.svg"]


def test_rows_for_every_pixel_of_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    """ConvNeXt's linear layers work on pixels: 8 x 8 of an image of 32x32 that is cut into 4x4."""
    assert main(["summary", "convnext_tiny", "--input", "3x32x32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (linear,) = (line for line in lines if line.startswith("features.1.0.block.3 "))
    assert re.split(r" {2,}", linear)[1:5] == ["Linear", "(64 * N, 384)", "37,248", f"{64 * 96 * 384:,}"]


@pytest.mark.parametrize(("name", "size"), [("simplecnn", 28), ("mlp", 28), ("vgg_mini", 32), ("resnet20", 32)])
def test_totals_are_the_sums_of_rows(name: str, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", name, "--input", f"3x{size}x{size}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [[int(cell.replace(",", "")) for cell in line.split()[-4:]] for line in lines[3:-4]]
    total = [int(cell.replace(",", "")) for cell in lines[-3].split()[1:]]
    assert [sum(column) for column in zip(*numbers, strict=True)] == total
    assert total[0] == models.create(name, 10, 3, size).parameter_count()


def test_the_memory_of_a_batch_is_told_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5", "--batch", "64", "--optimizer", "sgd"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(LENET5)
    first, *parts = output[len(LENET5) :].strip().splitlines()
    found = re.fullmatch(
        r"a training step with a batch of 64 and sgd takes ([\d.]+) MB on the CPU at its peak, in the gradient of "
        r"pool1 \(MaxPool2d\):",
        first,
    )
    assert found
    cells = [re.split(r"\s{2,}", line.strip()) for line in parts]
    assert cells[:5] == [
        ["parameters", "0.2 MB"],
        ["gradients of parameters", "0.2 MB"],
        ["optimizer's memory", "0.2 MB"],
        ["images", "0.3 MB"],
        ["activations", "2.5 MB"],
    ]
    assert [name for name, _ in cells[5:]] == ["gradients and temporaries", "kept for use again", "columns of tiles"]
    assert sum(float(size.split()[0]) for _, size in cells) == pytest.approx(float(found[1]), abs=0.4)


def test_more_memory_takes_larger_batches(capsys: pytest.CaptureFixture[str]) -> None:
    batches = []
    for memory in ("3MB", "64 MiB", "0.5gb", "4GB"):
        assert main(["summary", "lenet5", "--batch", "auto", "--memory", memory]) == 0
        output = capsys.readouterr().out
        batches.append(largest_batch(output))
        assert f"a training step with a batch of {batches[-1]} and adam takes" in output
    assert batches == sorted(set(batches))
    assert batches[-1] == pytest.approx(8 * batches[-2], rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("--batch auto", 1, "--batch auto and --memory SIZE go together, e.g. --batch auto --memory 4GB"),
        ("--memory 4GB", 1, "--batch auto and --memory SIZE go together, e.g. --batch auto --memory 4GB"),
        ("--batch 8 --memory 4GB", 1, "--batch auto and --memory SIZE go together, e.g. --batch auto --memory 4GB"),
        ("--batch auto --memory 1MB", 1, "bytes, 987,296 of them for parameters, gradients and the optimizer, got 1,000,000;"),
        ("--batch auto --memory 4", 2, "argument --memory: expected a size with its unit, e.g. 4GB, 512MB or 2GiB, got '4'"),
        ("--batch auto --memory 4XB", 2, "argument --memory: expected a size with its unit, e.g. 4GB, 512MB or 2GiB, got '4XB'"),
        ("--batch auto --memory 0GB", 2, "argument --memory: expected a size with its unit"),
        ("--batch auto --memory -1GB", 2, "argument --memory: expected"),
        ("--batch 0", 2, "argument --batch: expected a whole number >= 1 or auto, got '0'"),
        ("--batch most", 2, "argument --batch: expected a whole number >= 1 or auto, got 'most'"),
        ("--optimizer lion", 2, "argument --optimizer: unknown name 'lion', expected one of adam, sgd"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(
    arguments: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        got = main(["summary", "lenet5", *arguments.split()])
    except SystemExit as ended:
        got = int(str(ended.code))
    printed = capsys.readouterr()
    assert got == status
    assert printed.err.startswith("gpucnn summary: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_it_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["summary", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[0] == "layer"
    assert {"parameters", "multiply-adds"} <= set(lines[0].split())
    assert any(line.startswith("activation bytes: ") for line in lines) == ("activation bytes" in lines[0])
