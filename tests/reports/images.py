"""Reports on folders of images, and on the files in them."""

# ruff: noqa: RUF001 (letters of other scripts that look like Latin ones)

import copy
import io
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.cli.main import main
from gpucnn.data import ImageFolder, Preprocess, image_kind, read_image
from gpucnn.errors import ConfigError, DataError
from gpucnn.training import RunConfig
from tests.data.image_files import pillow_heif, save, write_two_classes
from tests.data.test_image_metadata import KINDS, PIXELS, exif
from tests.reports.report import Report

UPRIGHT = Preprocess(3, 16, 16, 255, "crop")


def _jpeg(exif_data: bytes) -> bytes:
    """A photo that lies on its side."""
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, "JPEG", exif=exif_data)
    return content.getvalue()


def _same_upright(folder: Path, damaged: bytes) -> None:
    """What is read of the damaged photo is what is read of the whole one."""
    (folder / "whole.jpg").write_bytes(_jpeg(exif()))
    (folder / "damaged.jpg").write_bytes(damaged)
    np.testing.assert_array_equal(
        read_image(folder / "damaged.jpg", UPRIGHT), read_image(folder / "whole.jpg", UPRIGHT)
    )


def _exif_with(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        data_of_exif = bytearray(exif())
        change(data_of_exif)
        _same_upright(folder, _jpeg(bytes(data_of_exif)))

    return check


def _entry(data_of_exif: bytearray, tag: int) -> int:
    """Where the entry of a tag begins."""
    order = "<" if data_of_exif[6:8] == b"II" else ">"
    return data_of_exif.index(struct.pack(f"{order}H", tag), 14)


def _maker_lies_beyond_the_end(data_of_exif: bytearray) -> None:
    place = _entry(data_of_exif, 0x010F)
    data_of_exif[place + 8 : place + 12] = b"\x7f\xff\xff\x7f"


def _text_where_numbers_belong(data_of_exif: bytearray) -> None:
    place = _entry(data_of_exif, 0x0131)
    order = "<" if data_of_exif[6:8] == b"II" else ">"
    data_of_exif[place + 2 : place + 4] = struct.pack(f"{order}H", 5)


def _wrong_magic_number(data_of_exif: bytearray) -> None:
    data_of_exif[8:10] = b"\xff\xff"


def _twice_exif(folder: Path) -> None:
    _same_upright(folder, _jpeg(exif()).replace(b"Exif\0\0", b"Exif\0\0Exif\0\0", 1).replace(
        struct.pack(">H", len(exif()) + 2) + b"Exif", struct.pack(">H", len(exif()) + 8) + b"Exif", 1))  # fmt: skip


def _no_exif_in_its_segment(folder: Path) -> None:
    content = _jpeg(exif(1))
    path = folder / "image.jpg"
    path.write_bytes(content.replace(exif(1), b"Exif\0\0" + bytes(len(exif(1)) - 6)))
    assert read_image(path, UPRIGHT).shape == (1, 3, 16, 16)


def _png_chunk(kind: bytes, inside: bytes) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        path = folder / "image.png"
        Image.fromarray(PIXELS).save(path)
        whole = read_image(path, UPRIGHT)
        content = path.read_bytes()
        path.write_bytes(content[:33] + struct.pack(">I", len(inside)) + kind + inside + b"oops" + content[33:])
        np.testing.assert_array_equal(read_image(path, UPRIGHT), whole)
        right = struct.pack(">I", zlib.crc32(kind + inside))
        path.write_bytes(content[:33] + struct.pack(">I", len(inside)) + kind + inside + right + content[33:])
        np.testing.assert_array_equal(read_image(path, UPRIGHT), whole)

    return check


def _mpo_index(folder: Path) -> None:
    """It says three images and has two entries."""
    kind = KINDS["MPO"]
    content = bytearray(kind.write())
    place = content.index(b"MPF\0") + 4
    order = "<" if content[place : place + 2] == b"II" else ">"
    tag = content.index(struct.pack(f"{order}HHLL", 0xB001, 4, 1, 2), place)
    content[tag + 8 : tag + 12] = struct.pack(f"{order}L", 3)
    path = folder / "image.jpg"
    path.write_bytes(kind.write())
    whole = read_image(path, UPRIGHT)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path, UPRIGHT), whole)


def _pixels_cut_off(folder: Path) -> None:
    path = folder / "image.jpg"
    path.write_bytes(_jpeg(exif())[:-200])
    with pytest.raises(
        DataError, match=r"image.jpg: not an image .*truncated.*; it begins as JPEG does, but is damaged or cut"
    ):
        read_image(path, UPRIGHT)


def _verified_and_unreadable(kind: str) -> Callable[[Path], None]:
    """A file that Pillow's verify() takes: it does not decode."""

    def check(folder: Path) -> None:
        path = write_two_classes(folder, 1, 16) / "dark" / f"image.{kind}"
        if kind == "jpg":
            path.write_bytes(_jpeg(b"")[:-200])
        else:  # pixels that are no zlib stream, under a checksum that is right
            content = bytearray((folder / "dark" / "000.png").read_bytes())
            place = content.index(b"IDAT")
            (length,) = struct.unpack_from(">I", content, place - 4)
            content[place + 20 : place + 60] = bytes(40)
            struct.pack_into(">I", content, place + 4 + length, zlib.crc32(content[place : place + 4 + length]))
            path.write_bytes(content)
        with Image.open(path) as image:
            image.verify()
        assert [file.path for file in data.inspect(folder).unreadable] == [path]

    return check


def _damaged_ones(folder: Path) -> None:
    """Named together before anything is trained, and left out on demand."""
    write_two_classes(folder, 5, 8)
    for name in ("dark/damaged.png", "light/damaged.png"):
        (folder / name).write_bytes(b"x")
    found = data.inspect(folder)
    with pytest.raises(DataError, match="2 of 12 images cannot be read: dark/damaged.png .*, light/damaged.png "):
        found.check()
    splits = data.load("folder", folder, 8, skip=[file.path for file in found.unreadable])
    assert len(splits.train) + len(splits.test) == 10


def _many_pixels(folder: Path) -> None:
    """12,000 x 9,000 of a phone are fewer than are taken; as with any image, the message above that says what to do."""
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    assert 2 * limit > 12_000 * 9_000
    Image.new("1", (1000, 400)).save(folder / "image.png")
    Image.MAX_IMAGE_PIXELS = 200_000
    try:
        assert read_image(folder / "image.png", UPRIGHT).shape == (1, 3, 16, 16)
        Image.MAX_IMAGE_PIXELS = 199_999
        with pytest.raises(DataError, match=r"exceeds limit of 399998 pixels.*; make the image smaller"):
            read_image(folder / "image.png", UPRIGHT)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _suffixes(*suffixes: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        write_two_classes(folder, 1, 8)
        there = [suffix for suffix in suffixes if suffix != ".avif" or suffix in image_kind.suffixes()]
        for suffix in there:
            Image.new("L", (8, 8)).save(folder / "dark" / f"x{suffix}", {".jfif": "JPEG"}.get(suffix))
        assert len(ImageFolder(folder, 8)) == 2 + len(there)

    return check


def _told(name: str, said: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        write_two_classes(folder, 5, 8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
        with pillow_heif():
            splits = data.load("folder", folder, 8)
        assert splits.class_names == ("dark", "light")
        assert splits.notes == (said,)

    return check


def _nested(folder: Path) -> None:
    write_two_classes(folder, 1, 8)
    save(folder / "dark" / "2026" / "march" / "1.png", np.zeros((8, 8)))
    assert ImageFolder(folder, 8).labels.tolist() == [0, 0, 1]


def _parts(*names: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        for name in names:
            write_two_classes(folder / name, 2, 8)
        splits = data.load("folder", folder, 8)
        assert splits.class_names == ("dark", "light")
        assert len(splits.train) == len(splits.test) == 4
        assert (splits.validation is not None) is (len(names) == 3)

    return check


def _linked_part(folder: Path) -> None:
    write_two_classes(folder / "common", 2, 8)
    write_two_classes(folder / "data" / "train", 3, 8)
    (folder / "data" / "valid").symlink_to(folder / "common")
    assert len(data.load("folder", folder / "data", 8).test) == 4


def _test_part_without_a_class(folder: Path) -> None:
    for part in ("train", "test"):
        write_two_classes(folder / part, 2, 8)
        save(folder / part / "middle" / "1.png", np.full((8, 8), 120))
    (folder / "test" / "light" / "000.png").unlink()
    (folder / "test" / "light" / "001.png").unlink()
    for _ in range(2):
        splits = data.load("folder", folder, 8)
        assert splits.test.labels.tolist() == [0, 0, 2], "the labels are those of the training images"
        assert "test has no images of light" in splits.notes
        shutil.rmtree(folder / "test" / "light", ignore_errors=True)


def _named_pipe(folder: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    write_two_classes(folder / "images", 5, 8)
    for name in ("images/dark/pipe.png", "run.toml"):
        os.mkfifo(folder / name)
    splits = data.load("folder", folder / "images", 8)
    assert splits.notes == ("left out: 1 named pipe",)
    assert len(splits.train[:][0]) == 8
    with pytest.raises(ConfigError, match="a named pipe, expected a file"):
        RunConfig.from_toml(folder / "run.toml")


def _links_in_a_circle(folder: Path) -> None:
    write_two_classes(folder, 2, 8)
    (folder / "dark" / "all").symlink_to(folder)
    assert len(ImageFolder(folder, 8)) == 4
    (folder / "dark" / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match="self.png: cannot be read"):
        ImageFolder(folder, 8)


def _class_names(*names: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        for name in names:
            save(folder / name / "1.png", np.zeros((8, 8)))
        assert set(ImageFolder(folder, 8).class_names) == set(names)

    return check


def _escape_sequence(folder: Path) -> None:
    save(folder / "a" / "1.png", np.zeros((8, 8)))
    save(folder / "\x1b[31mred" / "1.png", np.zeros((8, 8)))
    with pytest.raises(DataError, match=r"'\\x1b\[31mred' cannot be printed as the name of a class; rename the folder"):
        ImageFolder(folder, 8)


def _pickled(folder: Path) -> None:
    dataset = ImageFolder(write_two_classes(folder, 2, 8), 8)
    for again in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        np.testing.assert_array_equal(again[:][0], dataset[:][0])


def _thousand_classes(folder: Path) -> None:
    write_two_classes(folder, 1, 8)
    with pytest.raises(DataError) as caught:
        ImageFolder(folder, 8, class_names=[f"class number {number}" for number in range(1000)])
    assert len(str(caught.value)) < 600


def _predict_and_train_read_alike(folder: Path) -> None:
    write_two_classes(folder / "images", 5, 8)
    Image.new("L", (8, 8)).save(folder / "images" / "dark" / "scan.jfif", "JPEG")
    (folder / "images" / "dark" / "notes.txt").write_bytes(b"")
    command = (
        "train --data folder --data-dir images --model mlp --epochs 1 --batch-size 4 --device cpu --quiet --out run"
    )
    assert main(command.split()) == 0
    assert main(["predict", "run", "images", "--device", "cpu", "--json", "found.json"]) == 0
    assert (folder / "found.json").read_text().count('"file"') == len(ImageFolder(folder / "images", 8)) == 11


REPORTS = [
    Report("EXIF whose text of the maker lies beyond its end", "the image stands upright all the same", "",
           _exif_with(_maker_lies_beyond_the_end)),
    Report("EXIF with a text where numbers belong", "the image stands upright all the same", "python-pillow/Pillow#4665",
           _exif_with(_text_where_numbers_belong)),
    Report("EXIF with a wrong magic number", "the orientation is still there, and used", "", _exif_with(_wrong_magic_number)),
    Report("EXIF that begins twice", "the image stands upright", "python-pillow/Pillow#8348", _twice_exif),
    Report("EXIF that is all zeros", "the image is read", "", _no_exif_in_its_segment),
    Report("a PNG whose colour profile is damaged", "the pixels are read", "python-pillow/Pillow#5672", _png_chunk(b"iCCP", b"x\0\1nonsense")),
    Report("a PNG whose text is damaged", "the pixels are read", "python-pillow/Pillow#1991", _png_chunk(b"iTXt", b"a\0\1\0\0\0nonsense")),
    Report("a PNG with a compressed text that is none", "the pixels are read", "", _png_chunk(b"zTXt", b"a\0\0nonsense")),
    Report("a photo with fewer previews than it says", "the photo is read", "python-pillow/Pillow#9826", _mpo_index),
    Report("a JPEG that is cut off", "it is refused as a damaged JPEG", "", _pixels_cut_off),
    Report("a JPEG that is cut off, which verify() takes", "it is named before training", "unpackAI/unpackai#1",
           _verified_and_unreadable("jpg")),
    Report("a PNG with damaged pixels, which verify() takes", "it is named before training", "python-pillow/Pillow#6342",
           _verified_and_unreadable("png")),
    Report("a few damaged images among many", "they are named together, and left out on demand", "roboflow/rf-detr#487", _damaged_ones),
    Report("a photo of 108 million pixels", "it is read", "facebookresearch/detectron2#1221", _many_pixels),
    Report("scans called .tif and .tiff", "they are read", "pytorch/vision#724", _suffixes(".tif", ".tiff")),
    Report("images called .jfif, .avif and .pgm", "they are read", "lstein/PhotoMapAI#364", _suffixes(".jfif", ".avif", ".pgm", ".pbm", ".pnm")),
    Report("a folder .ipynb_checkpoints", "it is no class, and told of", "pytorch/vision#2831",
           _told(".ipynb_checkpoints/1.png", "left out: 1 hidden")),
    Report("a file .DS_Store", "it is told of in a word", "fastai/fastai#488", _told("dark/.DS_Store", "left out: 1 .DS_Store")),
    Report("photos of an iPhone", "they are counted, with what reads them", "replicate/dreambooth#23",
           _told("dark/1.HEIC", "left out: 1 .heic (pip install pillow-heif)")),
    Report("notes among the images", "they are counted", "biolab/orange3-imageanalytics#51", _told("light/notes.txt", "left out: 1 .txt")),
    Report("an archive unpacked on a Mac", "its __MACOSX is no class", "", _told("__MACOSX/dark/._1.png", "left out: 1 __MACOSX")),
    Report("images in folders within a class", "they belong to it", "", _nested),
    Report("a validation part called val", "it is found", "huggingface/datasets#4839", _parts("train", "val")),
    Report("a validation part called valid", "it is found", "roboflow/roboflow-python#153", _parts("train", "valid")),
    Report("parts called train, validation and test", "all three are used", "ultralytics/ultralytics#4310", _parts("train", "validation", "test")),
    Report("parts in capitals", "they are found", "", _parts("Training", "TEST")),
    Report("a part that is a link", "it is followed", "fastai/fastai#2270", _linked_part),
    Report("a test part without images of a class", "labels stay those of the training images", "huggingface/pytorch-image-models#957",
           _test_part_without_a_class),
    Report("a named pipe among the images", "nothing waits for it", "simsong/bulk_extractor#52", _named_pipe),
    Report("links in a circle", "the way ends", "twisted/twisted#3098", _links_in_a_circle),
    Report("classes called by emoji", "they are taken", "cloud-annotations/cloud-annotations#67", _class_names("❤️", "👩\u200d🔬", "🇩🇪")),
    Report("classes in Persian, Hindi and Japanese", "joiners and wide spaces are taken", "", _class_names("زن\u200cها", "क्\u200dष", "日本\u3000語")),
    Report("a class folder that colours the terminal", "it is refused, with the name escaped", "", _escape_sequence),
    Report("a data set sent to another process", "it arrives", "pytorch/pytorch#51836", _pickled),
    Report("a thousand classes in a message", "the list is cut", "", _thousand_classes),
    Report("prediction on the folder that was trained on", "the same files are read", "", _predict_and_train_read_alike),
]  # fmt: skip
