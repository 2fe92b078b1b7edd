"""A folder of images looked at: every file decoded, once, and nothing said of it that is not so."""

import io
import os
import struct
import threading
import time
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile

from gpucnn import data, regular_file
from gpucnn.data import file_stamp, image_file, inspection, inspection_memory
from gpucnn.errors import ArgumentError, DataError
from tests.data.image_files import pillow_heif, save, write_two_classes


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def bytes_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cache of its own that keeps everything at once; the names of the files that are decoded from now on."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(inspection_memory, "WORTH_KEEPING", 0)
    monkeypatch.setattr(file_stamp, "SETTLED", -(10**18))
    decoded: list[str] = []
    original = inspection.decode_image

    def counted(path: Path, *arguments: Any, **options: Any) -> Image.Image:
        decoded.append(path.name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(inspection, "decode_image", counted)
    return decoded


def test_every_kind_of_file(tmp_path: Path) -> None:
    """What reads fine, whatever its name, with its size as it stands upright; and what does not, each with its reason."""
    image, exif = noise((9, 5)), Image.Exif()
    exif[0x0112] = 6
    jpeg, png = bytes_of(image, "JPEG"), bytes_of(noise((40, 30)), "PNG")
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    sixteen = Image.fromarray(np.arange(45, dtype=np.uint16).reshape(5, 9) * 1400)
    readable: dict[str, tuple[bytes, tuple[int, int], str]] = {
        "a png.jpg": (bytes_of(image, "PNG"), (9, 5), "RGB"),
        "a jpeg.png": (jpeg, (9, 5), "RGB"),
        "cmyk.jpg": (bytes_of(image.convert("CMYK"), "JPEG"), (9, 5), "CMYK"),
        "grey.jpg": (bytes_of(image.convert("L"), "JPEG"), (9, 5), "L"),
        "sixteen.png": (bytes_of(sixteen, "PNG"), (9, 5), "I;16"),
        "sixteen.tif": (bytes_of(sixteen, "TIFF"), (9, 5), "I;16"),
        "palette.gif": (bytes_of(image.convert("P"), "GIF"), (9, 5), "P"),
        "palette.png": (bytes_of(image.convert("P"), "PNG", transparency=3), (9, 5), "P"),
        "alpha.png": (bytes_of(image.convert("RGBA"), "PNG"), (9, 5), "RGBA"),
        "turned.jpg": (bytes_of(image, "JPEG", exif=exif), (5, 9), "RGB"),
        "moving.gif": (bytes_of(image, "GIF", save_all=True, append_images=[noise((9, 5), 1)]), (9, 5), "P"),
        "größe 😀 船.jpg": (jpeg, (9, 5), "RGB"),
        "rows.npy": (npy(np.zeros((5, 9), np.uint8)), (9, 5), "RGB"),
    }
    unreadable: dict[str, tuple[bytes, str]] = {
        "cut.jpg": (bytes_of(noise((64, 64)), "JPEG")[:2000], "truncated .* it begins as JPEG does, but is damaged or cut off"),
        "broken.png": (bytes(broken), "it begins as PNG does, but is damaged"),
        "empty.jpg": (b"", r"not an image that can be read \(an empty file\)"),
        "text.jpg": (b"this is a text", r"not an image that can be read \(cannot identify image file\); give PNG, JPEG or .npy"),
        "page.png": (b"<!DOCTYPE html>", "it is a web page"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull fetches it"),
        "volume.npy": (npy(np.zeros((2, 3, 4, 5))), r"expected one image \(H, W\)"),
        "bomb.png": (promising(png, 20_000), "400,?000,?000 pixels.*make the image smaller"),
    }  # fmt: skip
    hidden = (".DS_Store", "._cut.jpg", "Thumbs.db", ".hidden.png")
    for name, (content, *_) in {**readable, **unreadable, **dict.fromkeys(hidden, (b"x",))}.items():
        (tmp_path / "mixed" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mixed" / name).write_bytes(content)
    (tmp_path / "mixed" / "circle").symlink_to(tmp_path / "mixed")
    (tmp_path / "mixed" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "mixed" / "self.jpg").symlink_to("self.jpg")
    save(tmp_path / "one" / "1.png", np.zeros((3, 3)))
    (tmp_path / "one" / "phone.heic").write_bytes(b"x")
    told: list[tuple[int, int]] = []
    with pillow_heif():
        found = data.inspect(tmp_path, lambda done, total: told.append((done, total)))
    seen = {image.path.name: (image.size, image.mode) for image in found.images}
    assert seen == {"1.png": ((3, 3), "L"), **{name: (size, mode) for name, (_, size, mode) in readable.items()}}
    for file in found.unreadable:
        assert file.class_name == "mixed"
        assert str(tmp_path) not in file.reason
    reasons = {file.path.name: file.reason for file in found.unreadable}
    assert set(reasons) == {*unreadable, "gone.jpg", "self.jpg"}
    for name, (_, reason) in unreadable.items():
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(reasons[name])
    assert reasons["gone.jpg"] == "a link that leads to no file"
    assert found.left_out == {
        "hidden": 2, ".DS_Store": 1, "Thumbs.db": 1, ".heic": 1, "links to folders that are read anyway": 1,
    }  # fmt: skip
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert found.class_names == ("mixed", "one")


def promising(png: bytes, size: int) -> bytes:
    """A PNG whose header promises an image of another size."""
    header = b"IHDR" + struct.pack(">II", size, size) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_parts_and_classes_are_told(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_two_classes(tmp_path / part, 2, 4)
    (tmp_path / "val" / "light" / "x.png").write_bytes(b"x")
    found = data.inspect(tmp_path)
    assert [(image.part, image.class_name) for image in found.images] == [
        (part, name) for part in ("train", "validation", "test") for name in ("dark", "dark", "light", "light")
    ]
    assert [(file.part, file.class_name) for file in found.unreadable] == [("validation", "light")]
    splits = data.load("folder", tmp_path, 4, skip=[tmp_path / "val" / "light" / "x.png"])
    assert splits.validation is not None
    assert len(splits.validation) == 4


def test_unreadable_files_are_named_together(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 12, 4)
    data.inspect(tmp_path).check()
    bad = sorted((tmp_path / "dark").iterdir())[1:]
    bad[0].write_bytes(b"")
    with pytest.raises(DataError) as raised:
        data.inspect(tmp_path).check()
    assert str(raised.value) == (
        f"{tmp_path}: 1 of 24 images cannot be read: dark/001.png (not an image that can be read (an empty file); give PNG, JPEG "
        f"or .npy); put them back whole, remove them, or leave them out with --skip-unreadable"
    )
    for path in bad:
        path.write_bytes(b"x")
    with pytest.raises(DataError) as raised:
        data.inspect(tmp_path).check()
    assert (
        f"11 of 24 images cannot be read: {', '.join(f'dark/{number:03}.png' for number in range(1, 12))}; gpucnn data"
        in str(raised.value)
    )


def test_the_same_image_is_known_by_its_pixels(tmp_path: Path) -> None:
    """Whatever its bytes; and two that differ in one pixel, where none is looked at first, are not the same."""
    for name, seed in (("a/1.png", 0), ("a/2.bmp", 0), ("b/3.jpg", 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise((300, 200), seed).save(tmp_path / name)
    other = noise((300, 200))
    other.putpixel((1, 1), (1, 2, 3))
    other.save(tmp_path / "b" / "4.png")
    as_is, small = noise((300, 200)), inspection.SAMPLE
    assert as_is.resize((small, small), 0).tobytes() == other.resize((small, small), 0).tobytes()
    found = {image.path.name: image for image in data.inspect(tmp_path).images}
    assert found["1.png"].pixels == found["2.bmp"].pixels
    assert found["1.png"].digest != found["2.bmp"].digest
    assert len({image.pixels for image in found.values()}) == 3


def test_no_more_images_are_in_memory_than_there_are_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_classes(tmp_path, 40, 8)
    monkeypatch.setattr(inspection, "thread_count", lambda: 3)
    alive: set[int] = set()
    most, lock, original = [0], threading.Lock(), inspection.decode_image

    def watched(*arguments: Any, **options: Any) -> Image.Image:
        image = original(*arguments, **options)
        with lock:
            alive.add(id(image))
            weakref.finalize(image, alive.discard, id(image))
            most[0] = max(most[0], len(alive))
        return image

    monkeypatch.setattr(inspection, "decode_image", watched)
    assert len(data.inspect(tmp_path).images) == 80
    assert 1 <= most[0] <= 3


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_classes(tmp_path, 30, 8)
    monkeypatch.setattr(inspection, "thread_count", lambda: 4)
    monkeypatch.setattr(inspection, "LARGE", 63)
    inside, most, original = threading.Semaphore(1), [0], inspection.decode_image

    def alone(*arguments: Any, **options: Any) -> Image.Image:
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        most[0] += 1
        inside.release()
        return original(*arguments, **options)

    monkeypatch.setattr(inspection, "decode_image", alone)
    assert len(data.inspect(tmp_path).images) == most[0] == 60


def test_a_drive_that_does_not_answer_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_classes(tmp_path, 3, 4)
    answer, original = threading.Event(), os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("001.png"):
            answer.wait(60)
        return original(path, **options)

    monkeypatch.setattr(regular_file, "ANSWER_SECONDS", 0.5)  # in which the others answer, on a busy machine, too
    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(DataError, match=r"001.png: cannot be read \(no answer in 0.5 seconds"):
        data.inspect(tmp_path)
    answer.set()


def test_a_lack_of_memory_says_nothing_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_classes(tmp_path, 2, 4)
    loaded = Image.Image.load

    def load(image: Image.Image) -> Any:
        if getattr(image, "fp", None) is not None:
            raise MemoryError("no more")
        return loaded(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    monkeypatch.setattr(image_file, "plain_image", lambda content: None)
    with pytest.raises(MemoryError, match="no more"):
        data.inspect(tmp_path)


def test_it_is_one_line_at_the_prompt(tmp_path: Path) -> None:
    write_two_classes(tmp_path, 2, 4)
    assert repr(data.inspect(tmp_path)) == f"Inspection({str(tmp_path)!r}: 4 images, 2 classes, 0 unreadable)"


def test_wrong_arguments(tmp_path: Path) -> None:
    for wrong in (3, None, "a\0b"):
        with pytest.raises(ArgumentError, match="place must be a path"):
            data.inspect(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="inspect: told must be a function of two counts, or None, got 3"):
        data.inspect(tmp_path, 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="skip must be a list of paths, got 'x.png'"):
        data.load("folder", tmp_path, 8, skip="x.png")  # type: ignore[arg-type]


class TestMemory:
    """What was decoded is not decoded again, unless it may have changed."""

    @pytest.fixture
    def folder(self, tmp_path: Path, remembering: list[str]) -> Path:
        return write_two_classes(tmp_path / "photos", 3, 8)

    def test_nothing_is_decoded_twice(
        self, folder: Path, remembering: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = data.inspect(folder)
        assert len(remembering) == 6
        monkeypatch.chdir(folder.parent)
        again = data.inspect("photos")
        assert len(remembering) == 6
        assert [image[1:] for image in again.images] == [image[1:] for image in first.images]
        save(folder / "dark" / "new.png", np.zeros((4, 4)))
        assert len(data.inspect(folder).images) == 7
        assert remembering[6:] == ["new.png"]

    @pytest.mark.parametrize("change", ["content", "size", "time", "another file", "unreadable"])
    def test_a_file_that_has_changed_is_decoded_again(
        self, folder: Path, remembering: list[str], change: str, tmp_path: Path
    ) -> None:
        before = data.inspect(folder).images[0]
        path = folder / "dark" / "000.png"
        times, old = os.stat(path), path.read_bytes()
        other = bytes_of(noise((8, 8), 5), "PNG")
        new = {"content": b"x" * len(old), "size": other, "unreadable": b"x" * len(old)}.get(change, old)
        if change == "another file":
            (tmp_path / "moved").write_bytes(other)
            os.replace(tmp_path / "moved", path)
        elif change != "time":
            path.write_bytes(new)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + (change == "time")))
        found = data.inspect(folder)
        assert remembering[6:] == ["000.png"]
        names = [file.path.name for file in found.unreadable]
        assert names == (["000.png"] if change in ("content", "unreadable") else [])
        if change in ("size", "another file"):
            assert found.images[0].pixels != before.pixels

    def test_what_cannot_be_read_is_tried_again(self, folder: Path, remembering: list[str]) -> None:
        (folder / "dark" / "000.png").write_bytes(b"x")
        for _ in range(2):
            assert len(data.inspect(folder).unreadable) == 1
        assert remembering[6:] == ["000.png"]

    @pytest.mark.parametrize("damage", ["cut", "one byte", "empty", "other"])
    def test_a_damaged_cache_is_as_none(
        self, folder: Path, remembering: list[str], damage: str, tmp_path: Path
    ) -> None:
        data.inspect(folder)
        (file,) = (tmp_path / "cache" / "images").iterdir()
        content = bytearray(file.read_bytes())
        content[40] ^= 1
        file.write_bytes({"cut": bytes(content)[:50], "one byte": bytes(content), "empty": b"", "other": b"{}"}[damage])
        assert len(data.inspect(folder).images) == 6
        assert len(remembering) == 12

    def test_another_version_decodes_again(
        self, folder: Path, remembering: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data.inspect(folder)
        monkeypatch.setattr(PIL, "__version__", "0.1")
        data.inspect(folder)
        assert len(remembering) == 12
        monkeypatch.setattr(inspection_memory.own_package, "read", lambda path: b"another source")
        data.inspect(folder)
        assert len(remembering) == 18
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        data.inspect(folder)
        assert len(remembering) == 24

    def test_what_may_still_change_is_not_kept(
        self, folder: Path, remembering: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_stamp, "SETTLED", 60 * 10**9)
        for _ in range(2):
            data.inspect(folder)
        assert len(remembering) == 12

    def test_little_work_is_not_kept(
        self, folder: Path, remembering: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(inspection_memory, "WORTH_KEEPING", 6 * 64 + 1)
        data.inspect(folder)
        assert not (tmp_path / "cache").exists()

    def test_two_that_look_at_once(self, folder: Path, remembering: list[str]) -> None:
        found: list[data.Inspection] = []
        both = [threading.Thread(target=lambda: found.append(data.inspect(folder))) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert found[0] == found[1]
        seen = len(remembering)
        assert data.inspect(folder) == found[0]
        assert len(remembering) == seen

    def test_what_was_seen_before_an_interrupt_is_kept(self, folder: Path, remembering: list[str]) -> None:
        def interrupt(done: int, total: int) -> None:
            if done == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            data.inspect(folder, interrupt)
        seen = len(remembering)
        assert seen >= 4
        assert len(data.inspect(folder).images) == 6
        assert len(remembering) == 6 or len(remembering) - seen < 6

    def test_old_folders_are_forgotten(
        self, folder: Path, remembering: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inspection_memory, "MOST_FOLDERS", 2)
        for name in ("a", "b", "c"):
            data.inspect(write_two_classes(tmp_path / name, 1, 4))
        assert len(list((tmp_path / "cache" / "images").iterdir())) == 2


def test_what_is_skipped_may_be_named_from_the_root_or_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two_classes(tmp_path / "photos")
    (tmp_path / "photos" / "dark" / "bad.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    whole = data.load("photos", image_size=4)
    for place in ("photos", tmp_path / "photos"):
        unreadable = [file.path for file in data.inspect(place).unreadable]
        splits = data.load("photos", image_size=4, skip=unreadable)
        assert len(splits.train) + len(splits.test) == len(whole.train) + len(whole.test) - 1
