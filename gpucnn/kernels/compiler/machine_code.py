"""From loops to machine code, which is kept in files for the next process.

A file's name is a hash of all that the code depends on: processor, llvmlite's version, the source of this package, the
loop and its sizes. A file that is damaged is made anew.
"""

import functools
import hashlib
import importlib.resources
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gpucnn import geometry
from gpucnn.backend import own_package, user_cache
from gpucnn.kernels.compiler.processor import Processor, processor


def compiled(name: str, sizes: tuple[Any, ...], write: Callable[[Processor], Any]) -> int:
    """The address of the function that `write` gives an LLVM module of, called `name`, from the cache if it is there.

    `sizes` must tell apart all that `write` may give.
    """
    machine = processor()
    key = hashlib.sha256(repr((machine, _versions(), name, sizes)).encode()).hexdigest()
    symbol = f"{name}_{key[:16]}"
    path = cache_folder() / f"{key}.o"
    code = user_cache.read(path)
    if code is None:
        module = write(machine)
        module.name = symbol
        code = _machine_code(str(module).replace(f'@"{name}"', f'@"{symbol}"'))
        user_cache.write(path, code)
    return _load(code, symbol)


def cache_folder() -> Path:
    """Where machine code is kept."""
    return user_cache.cache_folder("jit")


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
