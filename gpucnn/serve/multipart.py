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
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or len(boundary) > LONGEST_BOUNDARY:
        raise Refusal(HTTPStatus.BAD_REQUEST, "multipart/form-data without a boundary of 1 to 70 characters", FIX)
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "surrogateescape"), most + 2)
    if len(parts) > most + 2:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most} files in a request", "send them in several requests"
        )
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the form has no end: it was cut off, or its boundary is another", FIX)
    if len(parts) == 2:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "a form without a file", FIX)
    return [_file(part, place) for place, part in enumerate(parts[1:-1], 1)]


def _file(part: bytes, place: int) -> File:
    lines, separator, content = part.partition(b"\r\n\r\n")
    if not separator or len(lines) > LARGEST_HEADERS:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"part {place} of the form has no headers, or more than {LARGEST_HEADERS} bytes of them",
            FIX,
        )
    header = HeaderParser().parsestr(lines.lstrip().decode("utf-8", "replace"))
    name = header.get_filename()
    if name is None:
        field = header.get_param("name", "", "content-disposition")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"field {str(field)[:80]!r} of the form is no file", FIX)
    return File(name[:200], content)
