"""Changed files for every reader, so many in all, in one process whose memory is bounded. `python -m tests.fuzz.campaign 3000`

A file is read, or refused with one of gpucnn's errors that names it. Anything else is found, and ends with exit status 1:
another exception, a warning, a message too long to read, more than `LONGEST` seconds, or `MOST_BYTES` of memory.
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np

from gpucnn.errors import GpucnnError
from tests.fuzz.readers import READERS, Reader

MEMORY = Path("/dev/shm")
"""Where files are written to no disk."""
LONGEST = 10.0
"""Seconds for a file."""
MOST_BYTES = 3 << 29
"""For a file: 16 bytes for each of the 90 million pixels that an image may have, or 8 for twice as many, however small it is."""
LONGEST_MESSAGE = 1000
"""Characters, the path left out."""


class TooLong(BaseException):
    """An input that takes more than its time. No Exception, which a reader might take for its own."""


class Finding(Exception):
    """What must not happen."""


def changed_file(reader: Reader, number: int) -> bytes:
    """The input of this number: always the same."""
    key = zlib.crc32(reader.name.encode())
    return reader.changed(np.random.Generator(np.random.Philox(key=[key, number])))


def outcome(reader: Reader, content: bytes) -> str:
    """ "read" or "refused" for a file of this content. Raises Finding."""
    reader.path.write_bytes(content)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before = _peak()
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            reader.read()
        said = "read"
    except GpucnnError as error:
        _check_message(reader, error)
        said = "refused"
    except TooLong:
        raise Finding(f"more than {LONGEST} seconds") from None
    except Exception:
        raise Finding(traceback.format_exc()) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if warned:
        raise Finding(f"warning: {warned[0].message} ({warned[0].filename}:{warned[0].lineno})")
    if (taken := _peak() - before) > MOST_BYTES:
        raise Finding(f"{taken >> 20} MiB of memory")
    return said


def _check_message(reader: Reader, error: GpucnnError) -> None:
    message = str(error)
    if not isinstance(error, reader.unnamed):
        if str(reader.folder) not in message:
            raise Finding(f"the message does not name the file: {message[:LONGEST_MESSAGE]}")
        if len(message.replace(str(reader.folder), "")) > LONGEST_MESSAGE:
            raise Finding(f"a message of {len(message)} characters: {message[:LONGEST_MESSAGE]}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) and not reader.may_lack_memory:
            raise Finding(f"more memory was asked for than there is: {message[:LONGEST_MESSAGE]}")
        cause = cause.__context__


def _peak() -> int:
    """The most bytes of memory that the process has had since it was asked to forget."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@contextmanager
def alarm() -> Iterator[None]:
    """Inside, TooLong ends what takes too long."""

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def _bound_memory() -> None:
    """Let no more addresses be taken than `MOST_BYTES` above those that are taken now."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, taken + MOST_BYTES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many files in all")
    parser.add_argument("--reader", choices=[reader.name for reader in READERS], help="for this reader alone")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with the file of this number")
    options = parser.parse_args()
    chosen = [reader for reader in READERS if options.reader in (None, reader.name)]
    each = -(-options.count // len(chosen))
    total: Counter[str] = Counter()
    with alarm(), tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        readers = [kind(Path(folder) / str(place)) for place, kind in enumerate(chosen)]
        for reader in readers:
            outcome(reader, reader.valid[0])
        _bound_memory()
        print(f"{'reader':<20}{'read':>8}{'refused':>9}{'found':>7}{'seconds':>9}")
        for reader in readers:
            counts: Counter[str] = Counter()
            start = time.perf_counter()
            for number in range(options.first, options.first + each):
                try:
                    counts[outcome(reader, changed_file(reader, number))] += 1
                except Finding as finding:
                    counts["found"] += 1
                    if counts["found"] <= 3:
                        print(f"{reader.name} {number}: {finding}", file=sys.stderr)
            seconds = time.perf_counter() - start
            print(
                f"{reader.name:<20}{counts['read']:>8}{counts['refused']:>9}{counts['found']:>7}{seconds:>9.1f}",
                flush=True,
            )
            total += counts
    print(f"{total.total():,} files: {total['read']:,} read, {total['refused']:,} refused, {total['found']:,} findings")
    sys.exit(1 if total["found"] else 0)


if __name__ == "__main__":
    main()
