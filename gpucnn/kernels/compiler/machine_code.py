"""From loops to machine code, which is kept in files for the next process.

A file's name is a hash of all that the code depends on: processor, llvmlite's version, the source of this package, the
loop and its sizes. Its first bytes are a checksum of the rest; a file that does not match is made anew.
"""

import functools
import hashlib
import importlib.resources
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gpucnn import geometry
from gpucnn.backend import own_package
from gpucnn.kernels.compiler.processor import Processor, processor

VARIABLE = "GPUCNN_CACHE_DIR"
DIGEST_SIZE = hashlib.sha256().digest_size


def compiled(name: str, sizes: tuple[Any, ...], write: Callable[[Processor], Any]) -> int:
    """The address of the function that `write` gives an LLVM module of, called `name`, from the cache if it is there.

    `sizes` must tell apart all that `write` may give.
    """
    machine = processor()
    key = hashlib.sha256(repr((machine, _versions(), name, sizes)).encode()).hexdigest()
    symbol = f"{name}_{key[:16]}"
    path = cache_folder() / f"{key}.o"
    code = _read(path)
    if code is None:
        module = write(machine)
        module.name = symbol
        code = _machine_code(str(module).replace(f'@"{name}"', f'@"{symbol}"'))
        _write(path, code)
    return _load(code, symbol)


def cache_folder() -> Path:
    """Where machine code is kept: $GPUCNN_CACHE_DIR, or gpucnn in the user's folder for caches."""
    if own := os.environ.get(VARIABLE):
        return Path(own) / "jit"
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpucnn" / "jit"
    except RuntimeError:  # a user without a home: nothing can be kept
        return Path(os.devnull)


@functools.cache
def _versions() -> tuple[str, ...]:
    """llvmlite's version, LLVM's, and a hash of the source that says what is compiled."""
    import llvmlite
    from llvmlite import binding

    texts = [path.read_bytes() for path in _source_files(importlib.resources.files("gpucnn.kernels"))]
    source = hashlib.sha256(b"".join([*texts, own_package.read(Path(geometry.__file__))])).hexdigest()
    return llvmlite.__version__, str(binding.llvm_version_info), source


def _source_files(folder: Traversable) -> Iterator[Traversable]:
    """The modules below `folder`, in an order that is always the same."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_dir() and path.name != "__pycache__":
            yield from _source_files(path)
        elif path.name.endswith((".py", ".pyc")):
            yield path


@functools.cache
def _target_machine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = processor()
    target = binding.Target.from_triple(machine.triple)
    return target.create_target_machine(machine.processor, machine.features, opt=3, jit=True)


@functools.cache
def _engine() -> Any:
    from llvmlite import binding

    _target_machine()
    return binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())


def _machine_code(text: str) -> bytes:
    from llvmlite import binding

    module = binding.parse_assembly(text)
    module.verify()
    return bytes(_target_machine().emit_object(module))


def _load(code: bytes, symbol: str) -> int:
    from llvmlite import binding

    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))


def _read(path: Path) -> bytes | None:
    """The code in a file of the cache; None if there is none, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    """Keep the code, where that is possible: a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
