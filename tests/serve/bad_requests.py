"""What clients send that mean no good, or know no better: a table of kinds, each drawn anew as often as one likes."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from tests.serve.service import request

MAX_BYTES, MAX_PIXELS = 200_000, 300_000
"""The limits of a service that is to refuse these requests."""
OF_AN_IMAGE = {200, 413, 415, 422}
"""What a damaged image may be answered."""
LARGE = 30_000_000
"""Bytes that a few thousand become."""

T = TypeVar("T")
Draw = np.random.Generator


class Bad(NamedTuple):
    """Bytes to be sent, what the client does then (see `service.sent`), and the statuses it may get; 0 for no answer."""

    pieces: tuple[bytes, ...]
    statuses: set[int]
    then: str = "read"


def _bad(statuses: set[int], *pieces: bytes, then: str = "read") -> Bad:
    return Bad(pieces, statuses, then)


def _posted(body: bytes, statuses: set[int], kind: str = "image/png") -> Bad:
    return Bad((request(body, f"Content-Type: {kind}"),), statuses)


def _one_of(draw: Draw, values: Sequence[T]) -> T:
    """Not NumPy's choice, which takes NULs off the ends of texts."""
    return values[int(draw.integers(len(values)))]


# What is no HTTP, or half of it


def noise(draw: Draw, digit: bytes) -> Bad:
    return _bad({0, 400}, draw.bytes(int(draw.integers(1, 4000))) + b"\r\n\r\n", then="half-close")


def other_protocols(draw: Draw, digit: bytes) -> Bad:
    greetings = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + draw.bytes(200),  # TLS
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health\r\n\r\n",  # HTTP 0.9
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n\r\n",  # Redis
        b"\x00\x00\x00\x00\r\n\r\n",
    ]
    return _bad({0, 200, 400, 404, 405, 505}, _one_of(draw, greetings), then="half-close")


def half_requests(draw: Draw, digit: bytes) -> Bad:
    whole = request(digit, "Content-Type: image/png")
    there = whole[: int(draw.integers(1, len(whole)))]
    return _bad({0, 400, 408}, there, then=_one_of(draw, ["half-close", "leave", "reset"]))


def gone_while_computed(draw: Draw, digit: bytes) -> Bad:
    return _bad({0}, request(digit, "Content-Type: image/png"), then=_one_of(draw, ["leave", "reset"]))


def flipped_requests(draw: Draw, digit: bytes) -> Bad:
    whole = bytearray(request(digit, "Content-Type: image/png"))
    for place in draw.integers(0, len(whole), int(draw.integers(1, 6))):
        whole[place] ^= 1 << int(draw.integers(8))
    return _bad({0, *OF_AN_IMAGE, 400, 404, 405, 408, 411, 421, 431, 501, 505}, bytes(whole), then="half-close")


def wrong_lengths(draw: Draw, digit: bytes) -> Bad:
    kind, statuses, then = "Content-Type: image/png", {0, 400, 413}, "half-close"
    cases = [
        request(digit, kind, length="-1"),
        request(digit, kind, length="1e3"),
        request(digit, kind, length="0x10"),
        request(digit, kind, length=10**30),
        request(digit, kind, length=2**64),
        request(digit, kind, f"Content-Length: {len(digit) + 1}"),
        request(digit, kind, length=len(digit) + int(draw.integers(1, 1000))),
        request(digit, kind, length=MAX_BYTES + 1),
    ]
    return _bad(statuses, _one_of(draw, cases), then=then)


def both_lengths(draw: Draw, digit: bytes) -> Bad:
    """As request smuggling has it."""
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(digit), digit)
    return _bad({0, 400}, request(body, "Transfer-Encoding: chunked", length=4), then="half-close")


def bad_chunks(draw: Draw, digit: bytes) -> Bad:
    sizes = [b"zz", b"-5", b"ffffffffffffffff", b"fffffffffffffffff", b"", b"5;" + b"x" * 100_000, b"0x5"]
    size = _one_of(draw, sizes)
    head = request(b"", "Transfer-Encoding: chunked", length="")
    return _bad({0, 400, 413, 431}, head, size + b"\r\n" + digit + b"\r\n0\r\n\r\n", then="half-close")


def chunks_without_end(draw: Draw, digit: bytes) -> Bad:
    chunk = b"1000\r\n" + digit[:1] * 4096 + b"\r\n"
    return _bad({413}, request(b"", "Transfer-Encoding: chunked", length=""), *[chunk * 4] * (MAX_BYTES // 16384 + 20))


def tiny_chunks(draw: Draw, digit: bytes) -> Bad:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in digit) + b"0\r\n\r\n"
    return _bad({200}, request(body, "Transfer-Encoding: chunked", length=""))


def too_long(draw: Draw, digit: bytes) -> Bad:
    return _posted(digit + draw.bytes(MAX_BYTES + int(draw.integers(0, MAX_BYTES))), {413})


def huge_headers(draw: Draw, digit: bytes) -> Bad:
    cases = [
        [f"X-Long: {'x' * 1_000_000}"],
        [f"X-{number}: {number}" for number in range(30_000)],
        [f"{'X' * 300_000}: 1"],
        [f"Content-Type: image/png; {'a=b; ' * 100_000}"],
        [f"Content-Type: multipart/form-data; boundary={'b' * 100_000}"],
        [f"Cookie: {'c=d; ' * 100_000}"],
    ]
    return _bad({0, 400, 413, 431}, request(digit, *_one_of(draw, cases)))


def headers_without_end(draw: Draw, digit: bytes) -> Bad:
    return _bad({0, 400, 431}, b"POST /predict HTTP/1.1\r\n", *[b"X: %b\r\n" % (b"x" * 1000) * 100] * 20)


def odd_headers(draw: Draw, digit: bytes) -> Bad:
    cases = [
        "Content-Type: image/png\x00",
        "Content-Type: \xff\xfe\x00",
        "No colon at all",
        ": no name",
        "Content-Type: a\r\n folded: b",
        "Content-Type : image/png",
        "Content-Encoding: gzip",
        "Expect: the-unexpected",
        "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
        "Upgrade: h2c",
        "Host: a\r\nHost: b",
        "Transfer-Encoding: gzip",
        "Range: bytes=0-",
        "Content-Type: ",
        "Accept: nothing/whatever",
        "X-Forwarded-For: 1.2.3.4, \x01",
    ]
    statuses = {0, 200, 400, 411, 415, 417, 426, 431, 501}
    return _bad(statuses, request(digit, _one_of(draw, cases)), then="half-close")


def wrong_methods(draw: Draw, digit: bytes) -> Bad:
    method = _one_of(draw, ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "HEAD"])
    return _bad({405}, request(b"" if method in ("GET", "HEAD") else digit, method=method))


def unknown_methods(draw: Draw, digit: bytes) -> Bad:
    method = _one_of(draw, ["FOO", "post", "POST\x00", "P" * 10_000, "\xff\xff", "CONNECT"])
    return _bad({0, 400, 404, 405, 501}, request(digit, method=method), then="half-close")


def wrong_paths(draw: Draw, digit: bytes) -> Bad:
    paths = ["/", "/predict/", "/predict/..", "/../../../../etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd", "//etc/passwd", "/%00",
             "/predict%00", "/%ff%fe", "/%zz", "/predict;x", "/.git/config", "/static/../config.json", "/docs/../../config.json",
             "/%e2%80%ae", "/" + "a/" * 2000, "/Predict", "/metrics/../predict/x", "/config.json", "/model.safetensors"]  # fmt: skip
    return _bad({404, 405, 400, 307}, request(digit, path=_one_of(draw, paths)))


def odd_targets(draw: Draw, digit: bytes) -> Bad:
    targets = ["*", "predict", "http://evil.example/predict", "/predict?" + "q" * 5000, "/pre\x00dict", "/predict#\xff",
               "/" + "x" * 1_000_000, "\\predict", "/predict HTTP/1.1 /"]  # fmt: skip
    target = _one_of(draw, targets)
    return _bad({0, 200, 400, 404, 414, 415, 421, 431}, request(digit, path=target), then="half-close")


# What is no image, or one that must not be decoded


def other_formats(draw: Draw, digit: bytes) -> Bad:
    """Files that Pillow would decode, some by starting other programs, if it were let."""
    image = Image.open(io.BytesIO(digit))
    kind = _one_of(draw, ["GIF", "TIFF", "BMP", "PPM", "ICO", "TGA", "PCX", "PDF", "EPS", "SGI", "JPEG2000"])
    content = io.BytesIO()
    image.resize((32, 32)).convert("RGB").save(content, kind)
    return _posted(content.getvalue(), {415})


def other_files(draw: Draw, digit: bytes) -> Bad:
    array = io.BytesIO()
    np.save(array, np.zeros((8, 8), np.uint8))
    files = [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        b"%PDF-1.4\n1 0 obj\n",
        b"PK\x03\x04" + draw.bytes(100),
        b"\x80\x04cposix\nsystem\n(S'true'\ntR.",
        b"\x00\x00\x00\x20ftypheic" + draw.bytes(100),
        b"\x00\x00\x00\x1cftypavif" + draw.bytes(100),
        b'{"image": "data:image/png;base64,iVBORw0KGgo="}',
        b"https://evil.example/image.png",
        b"/etc/passwd",
        b"GIF89a" + digit,
        array.getvalue(),
        draw.bytes(1000),
        b"\x00" * 1000,
        b" " + digit,
    ]
    return _posted(_one_of(draw, files), {415})


def empty_bodies(draw: Draw, digit: bytes) -> Bad:
    return _posted(b"", {422})


@functools.cache
def packed_zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def png(
    width: int,
    height: int,
    pixels: bytes = b"x\x9c\x03\0\0\0\0\1",
    depth: int = 8,
    colour: int = 0,
    *more: tuple[bytes, bytes],
) -> bytes:
    """A PNG as its header says, whatever its packed pixels are; `more` chunks stand before these."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def png_bombs(draw: Draw, digit: bytes) -> Bad:
    side = _one_of(draw, [1000, 10_000, 100_000, 2**31 - 1])
    return _posted(
        png(side, side, packed_zeros(min(side * side // 8 + side, LARGE)), 1),
        {413, 422} if side == 2**31 - 1 else {413},
    )


def png_chunk_bombs(draw: Draw, digit: bytes) -> Bad:
    """Text and colour profiles that become 30 MB, and the like, beside a small image."""
    packed = packed_zeros(LARGE)
    chunk = [
        (b"zTXt", b"key\0\0" + packed),
        (b"iTXt", b"key\0\1\0\0\0" + packed),
        (b"iCCP", b"name\0\0" + packed),
        (b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        (b"tEXt", b"key\0" + bytes(100_000)),
        (b"eXIf", b"II*\0" + struct.pack("<I", 8) + b"\xff\xff" + bytes(60_000)),
    ][int(draw.integers(6))]
    return _posted(png(8, 8, packed_zeros(72), 8, 0, chunk), OF_AN_IMAGE)


def png_more_than_said(draw: Draw, digit: bytes) -> Bad:
    """Pixels of 30 MB for an image of 8x8."""
    return _posted(png(8, 8, packed_zeros(LARGE)), OF_AN_IMAGE)


def odd_pngs(draw: Draw, digit: bytes) -> Bad:
    cases = [png(0, 0), png(0, 8), png(8, 8), png(8, 8, packed_zeros(72), 7), png(8, 8, packed_zeros(72), 8, 9), png(8, 8, packed_zeros(72), 16, 6),
             png(1, MAX_PIXELS, packed_zeros(2 * MAX_PIXELS)), png(MAX_PIXELS, 1, packed_zeros(MAX_PIXELS + 1)), digit + digit,
             b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, digit[:8] + b"GIF89a"]  # fmt: skip
    return _posted(_one_of(draw, cases), OF_AN_IMAGE - {415})


def jpeg_bombs(draw: Draw, digit: bytes) -> Bad:
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "JPEG", progressive=bool(draw.integers(2)))
    whole = bytearray(content.getvalue())
    frame = max(whole.find(b"\xff\xc0"), whole.find(b"\xff\xc2"))
    whole[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    return _posted(bytes(whole), {413}, "image/jpeg")


def jpeg_of_many_scans(draw: Draw, digit: bytes) -> Bad:
    """A progressive JPEG whose scans are repeated as often as its bytes allow: work without end for some decoders."""
    content = io.BytesIO()
    Image.new("L", (512, 512)).save(content, "JPEG", progressive=True)
    whole = content.getvalue()
    scan = whole.index(b"\xff\xda")
    end = whole.index(b"\xff", scan + 12)
    while whole[end + 1] == 0:
        end = whole.index(b"\xff", end + 2)
    scans = (MAX_BYTES - len(whole)) // (end - scan)
    return _posted(whole[:end] + whole[scan:end] * scans + whole[end:], OF_AN_IMAGE, "image/jpeg")


def webp_bombs(draw: Draw, digit: bytes) -> Bad:
    if draw.integers(2):
        return _posted(_large_webp(), {413}, "image/webp")
    canvas = struct.pack("<I", 2**24 - 1)[:3] * 2
    head = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    head += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return _posted(b"RIFF" + struct.pack("<I", len(head)) + head, {413, 422}, "image/webp")


@functools.cache
def _large_webp() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(content, "WEBP", lossless=True, method=0)
    return content.getvalue()


def webp_of_many_frames(draw: Draw, digit: bytes) -> Bad:
    frames = [Image.new("L", (16, 16), shade) for shade in draw.integers(0, 256, 200).tolist()]
    content = io.BytesIO()
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:], method=0)
    return _posted(content.getvalue(), OF_AN_IMAGE - {415}, "image/webp")


def damaged_images(draw: Draw, digit: bytes) -> Bad:
    """Cut off, bits turned round, bytes taken out or doubled."""
    kind = _one_of(draw, ["PNG", "JPEG", "WEBP"])
    content = io.BytesIO()
    Image.open(io.BytesIO(digit)).convert("RGB").resize((40, 30)).save(content, kind)
    whole = bytearray(content.getvalue())
    how = int(draw.integers(4))
    if how == 0:
        del whole[int(draw.integers(len(whole))) :]
    elif how == 1:
        for place in draw.integers(0, len(whole), int(draw.integers(1, 20))):
            whole[place] ^= 1 << int(draw.integers(8))
    else:
        start, end = sorted(draw.integers(0, len(whole), 2))
        whole[start:end] = b"" if how == 2 else whole[start:end] * 2
    return _posted(bytes(whole), OF_AN_IMAGE, f"image/{kind.lower()}")


# Forms


def form(*parts: bytes, boundary: bytes = b"edge", end: bytes = b"--edge--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + end


def file_part(
    content: bytes, name: bytes = b"image", file_name: bytes = b"digit.png", kind: bytes = b"image/png"
) -> bytes:
    return b'Content-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: %b\r\n\r\n%b' % (
        *(name, file_name, kind, content),
    )


FORM = "multipart/form-data; boundary=edge"


def bad_forms(draw: Draw, digit: bytes) -> Bad:
    part = file_part(digit)
    cases = [
        (form(part), "multipart/form-data"),
        (form(part), "multipart/form-data; boundary="),
        (form(part), "multipart/form-data; boundary=other"),
        (form(part), "multipart/form-data; boundary=" + "b" * 5000),
        (form(part), "multipart/form-data; boundary=\xff\xfe"),
        (form(), FORM),
        (b"", FORM),
        (digit, FORM),
        (form(digit), FORM),
        (form(b"\r\n\r\n" + digit), FORM),
        (form(b"Content-Disposition: form-data\r\n\r\n" + digit), FORM),
        (form(b'Content-Disposition: form-data; name="image"\r\n\r\njust text'), FORM),
        (form(part[: len(part) // 2], end=b""), FORM),
        (form(b"X: " + b"x" * 100_000 + b"\r\n" + part), FORM),
        (form(b"\x00: \xff\r\n" + part), FORM),
        (form(file_part(form(part), kind=b"multipart/mixed; boundary=edge")), FORM),
        (b"image=digit.png", "application/x-www-form-urlencoded"),
        (form(file_part(b"")), FORM),
        (form(file_part(b"GIF89a" + digit)), FORM),
        (form(part, file_part(b"no image")), FORM),
    ]
    body, kind = _one_of(draw, cases)
    return _posted(body, {400, 413, 415, 422}, kind)


def thousands_of_parts(draw: Draw, digit: bytes) -> Bad:
    part = [
        file_part(b"x", b"f"),
        b'Content-Disposition: form-data; name="a"\r\n\r\nb',
        file_part(png(1, 1, packed_zeros(2))),
    ]
    one = part[int(draw.integers(3))]
    body = form(*[one] * (MAX_BYTES // (len(one) + 10) - 1))
    return _posted(body, {400, 413, 415, 422, 503}, FORM)


def odd_file_names(draw: Draw, digit: bytes) -> Bad:
    names = [b"../../../etc/passwd", b"\x00.png", b"\xff\xfe\xfd.png", b"a" * 5000, b"", b"C:\\digit.png", b'a\\"b.png',
             b"%00.png", b"<script>alert(1)</script>.png", "\u202egnp.exe".encode(), b"con", b"digit.png;x=y"]  # fmt: skip
    body = form(file_part(digit, file_name=_one_of(draw, names)))
    return _posted(body, {200, 400, 422}, FORM)


KINDS: dict[str, Callable[[Draw, bytes], Bad]] = {
    one.__name__.replace("_", " "): one
    for one in (
        *(noise, other_protocols, half_requests, gone_while_computed, flipped_requests, wrong_lengths, both_lengths),
        *(
            bad_chunks,
            chunks_without_end,
            tiny_chunks,
            too_long,
            huge_headers,
            headers_without_end,
            odd_headers,
            wrong_methods,
        ),
        *(unknown_methods, wrong_paths, odd_targets, other_formats, other_files, empty_bodies, png_bombs),
        *(png_chunk_bombs, png_more_than_said, odd_pngs, jpeg_bombs, jpeg_of_many_scans, webp_bombs),
        *(webp_of_many_frames, damaged_images, bad_forms, thousands_of_parts, odd_file_names),
    )
}
