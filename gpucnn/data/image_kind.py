"""Kinds of image files: by the end of a name, and by how the content begins."""

import functools
import re

ALWAYS = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".npy", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
)  # fmt: skip
OPTIONAL = {".avif": "avif", ".webp": "webp"}
"""Which Pillow reads if it was built with a library, by Pillow's name for it."""
HEIF = (".heic", ".heif")

NOT_READ = {
    **dict.fromkeys(HEIF, "pip install pillow-heif"),
    **dict.fromkeys(OPTIONAL, "pip install --upgrade pillow"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2"), "export them as JPEG"),
    **dict.fromkeys((".svg", ".psd", ".jp2", ".jxl", ".tga", ".ico", ".exr", ".hdr", ".pdf"), "save them as PNG"),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
    **dict.fromkeys((".tar", ".parquet"), "read only in a folder of their own"),
}
"""What makes files that are left out readable, by the end of their names."""

BEGINNINGS = {
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"GIF8[79]a": "GIF",
    rb"BM": "BMP",
    rb"RIFF....WEBP": "WebP",
    rb"II\*\0|MM\0\*|II\+\0|MM\0\+": "TIFF",
    rb"....ftypavi[fs]": "AVIF",
    rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)": "HEIF",
    rb"P[1-7]\s": "PPM",
    rb"\x93NUMPY": ".npy",
}
OTHERS = {
    rb"version https://git-lfs": "it is a pointer to the image; git lfs pull fetches it",
    rb"(?i:\s*<(!doctype|html|\?xml))": "it is a web page, as some servers send for an error; download it again",
    rb"%PDF": "it is a PDF; save its pages as PNG",
    rb"PK\x03\x04": "it is a zip archive; unpack it",
    rb"PAR1": "it is a Parquet file; give the folder that it is in",
    rb".{257}ustar": "it is a tar; give the folder that it is in",
}
"""What often stands under the name of an image."""


@functools.cache
def suffixes() -> tuple[str, ...]:
    """The ends of the names of image files that can be read here, in small letters: the same for training and prediction."""
    from PIL import features

    there = [suffix for suffix, library in OPTIONAL.items() if library in features.modules and features.check(library)]
    return tuple(sorted([*ALWAYS, *there, *(HEIF if reads_heif() else ())]))


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC files, as iPhones take photos, can be read: with pillow-heif, which is then made known to Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def kind_of(content: bytes) -> str | None:
    """The kind that a file's content begins like, e.g. "JPEG", whatever its name; None if no known kind does."""
    return next((kind for beginning, kind in BEGINNINGS.items() if re.match(beginning, content, re.DOTALL)), None)


def what_to_do(content: bytes) -> str:
    """What to do about a file that cannot be read as an image."""
    kind = kind_of(content)
    if kind in ("HEIF", "AVIF", "WebP") and f".{kind.lower()}" not in suffixes():
        return f"it is {kind}, for which: {NOT_READ[f'.{kind.lower()}']}; or give PNG, JPEG or .npy"
    if kind is not None:
        return f"it begins as {kind} does, but is damaged or cut off"
    other = (fix for beginning, fix in OTHERS.items() if re.match(beginning, content))
    return next(other, "give PNG, JPEG or .npy")
