"""The files in a body of multipart/form-data, as forms and `curl -F` send them (RFC 7578, RFC 2046)."""

from email.message import Message
from email.parser import HeaderParser
from http import HTTPStatus
from typing import NamedTuple

from gpucnn.serve.refusal import Refusal

LARGEST_HEADERS = 8192
"""Bytes of the headers of a part."""
LONGEST_BOUNDARY = 70
"""As the RFC has it."""
FIX = "send each image as a file of the form: curl -F image=@digit.png"


class File(NamedTuple):
    """A file of a form, or, without a name, the body of a request."""

    name: str
    content: bytes


def files_of(body: bytes, content_type: str, most: int) -> list[File]:
    """The files in a whole body, at most `most`. Refusal for what is no such form, or has too many parts."""
    boundary = _boundary(content_type)
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise Refusal(HTTPStatus.BAD_REQUEST, "multipart/form-data without a boundary of 1 to 70 characters", FIX)
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 2)
    if len(parts) > most + 2:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most} files in a request", "send them in several requests"
        )
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the form has no end: it was cut off, or its boundary is another", FIX)
    if len(parts) == 2:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "a form without a file", FIX)
    return [_file(part, place) for place, part in enumerate(parts[1:-1], 1)]


def _boundary(content_type: str) -> bytes:
    """What stands between the parts; empty if that is not to be found."""
    header = Message()
    header["content-type"] = content_type
    try:
        return (header.get_boundary() or "").encode("utf-8", "surrogateescape")
    except (ValueError, LookupError):  # it names its own character set, RFC 2231, which may be any codec of Python's
        return b""


def _file(part: bytes, place: int) -> File:
    lines, separator, content = part.partition(b"\r\n\r\n")
    if not separator or len(lines) > LARGEST_HEADERS:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"part {place} of the form has no headers, or more than {LARGEST_HEADERS} bytes of them",
            FIX,
        )
    header = HeaderParser().parsestr(lines.lstrip().decode("utf-8", "replace"))
    try:
        name = header.get_filename()
    except (ValueError, LookupError):  # in a character set that its sender has named, as for a boundary
        raise Refusal(
            HTTPStatus.BAD_REQUEST, f"the name of file {place} of the form cannot be read", "name it in ASCII or UTF-8"
        ) from None
    if name is None:
        field = header.get_param("name", "", "content-disposition")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"field {str(field)[:80]!r} of the form is no file", FIX)
    return File(name[:200].encode("utf-8", "replace").decode(), content)
