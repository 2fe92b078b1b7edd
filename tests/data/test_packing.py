"""Tars that are written of a folder of images."""

import tarfile
from pathlib import Path

import pytest

from gpucnn import data
from gpucnn.data.packing import pack
from gpucnn.errors import DataError
from tests.data.image_files import save, write_two_classes
from tests.data.tar_files import picture


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder and in its tars, as Python finds it."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".txt"}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            found |= {f"{path.name}/{one.name}": archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    return found


def test_every_image_is_there_with_its_label(tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 6, 8)
    written = pack(photos, tmp_path / "tars", size=4000)
    found = contents(tmp_path / "tars")
    assert found.pop("classes.txt") == b"dark\nlight\n"
    images = {name.partition("/")[2]: content for name, content in found.items() if name.endswith(".png")}
    assert images == {path.relative_to(photos).as_posix(): path.read_bytes() for path in photos.rglob("*.png")}
    labels = {name.partition("/")[2]: content for name, content in found.items() if name.endswith(".cls")}
    assert labels == {f"{name[:-4]}.cls": b"%d" % name.startswith("light") for name in images}
    assert len(written) > 2
    assert [(one.path, one.size) for one in written] == [
        (path, path.stat().st_size) for path in sorted((tmp_path / "tars").glob("*.tar"))
    ]
    assert sum(one.images for one in written) == 12
    ours, theirs = data.load(tmp_path / "tars", image_size=8), data.load(photos, image_size=8)
    assert ours.train[:][0].tobytes() == theirs.train[:][0].tobytes()
    assert ours.test[:][0].tobytes() == theirs.test[:][0].tobytes()


def test_bytes_are_a_function_of_images_and_seed(tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 6, 8)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pack(photos, tmp_path / name, 5000, seed)
    a, b, c = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc")
    assert a == b
    assert a != c


def test_parts_keep_their_names_and_tars_can_be_written_anew(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_two_classes(tmp_path / "photos" / part, count, 6)
    pack(tmp_path / "photos", tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "classes.txt", "test-000000.tar", "train-000000.tar", "val-000000.tar",
    ]  # fmt: skip
    pack(tmp_path / "a", tmp_path / "b")
    assert {name: contents(tmp_path / "a")[name] for name in contents(tmp_path / "b")} == contents(tmp_path / "b")


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 2, 6)
    with pytest.raises(DataError, match="photos: has files in it; give a new folder"):
        pack(photos, photos)
    with pytest.raises(DataError, match=r"no folder .*nowhere to write it into; make it first"):
        pack(photos, tmp_path / "nowhere" / "x")
    save(photos / "dark" / "000.jpg", __import__("numpy").zeros((6, 6)))
    with pytest.raises(DataError, match=r"photos: dark/000.jpg and dark/000.png are the same up to the first dot"):
        pack(photos, tmp_path / "x")
    (photos / "dark" / "000.jpg").unlink()
    (photos / "dark" / "gone.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"gone.png: a link that leads to no file"):
        pack(photos, tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    photos = write_two_classes(tmp_path / "photos", 2, 6)
    (photos / "light" / "ünï.png").write_bytes(picture(1))
    (tmp_path / "tars").mkdir()
    pack(photos, tmp_path / "tars")
    assert "light/ünï.png" in data.ImageFolder(photos, 6).names
    assert any(path.name == "ünï.png" for path in data.load(tmp_path / "tars", image_size=6).train.parent.paths)  # type: ignore[union-attr]
