"""A module imports only packages with a lower number, or siblings of its own package. See CONTRIBUTING.md."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gpucnn

ROOT = Path(gpucnn.__file__).parent
LEVELS = {
    "errors": 0, "text": 0, "text_table": 0, "html_fragments": 0, "checks": 0, "geometry": 0, "regular_file": 0, "atomic_file": 0, "backend": 1, "kernels": 2, "autograd": 3, "functions": 4, "layers": 5, "optim": 5,
    "files": 5, "data": 5, "models": 6, "onnx_model": 6, "diagnosis": 7, "explain": 7, "training": 8, "runs": 9, "testing": 9, "benchmark": 10,
    "export": 10, "image_classifier": 10, "plot": 10, "play": 11, "report": 11, "serve": 11, "cli": 12,
}  # fmt: skip
FACES = {"training/__init__.py": 10}
"""Files that nothing below their level imports: users find there what several packages have."""
SAME_LEVEL = {
    ("checks", "errors"),
    ("checks", "text"),
    ("geometry", "text"),
    ("text_table", "text"),
    ("html_fragments", "text"),
    ("html_fragments", "errors"),
    ("atomic_file", "errors"),
    ("atomic_file", "regular_file"),
    ("geometry", "errors"),
    ("geometry", "checks"),
    ("optim", "layers"),
    ("files", "layers"),
    ("data", "files"),
}
OPTIONAL = {
    "cupy",
    "IPython",
    "jinja2",
    "llvmlite",
    "matplotlib",
    "mpi4py",
    "onnx",
    "onnxruntime",
    "optuna",
    "PIL",
    "pillow_heif",
    "pyarrow",
    "safetensors",
    "scipy",
    "simplejpeg",
    "sklearn",
    "starlette",
    "tensorboardX",
    "threadpoolctl",
    "tqdm",
    "uvicorn",
}
LOADED_AT_FIRST_USE = (
    *(f"kernels/compiler/{name}.py" for name in ("builder", "dispatch", "values")),
    "image_classifier/classifier.py",
    "onnx_model/model.py",
    "onnx_model/whole_file.py",
)
HOMES = {
    "cupy": ("backend/", "kernels/launch.py"),
    "llvmlite": ("kernels/compiler/",),
    "mpi4py": ("backend/mpi.py",),
    "threadpoolctl": ("backend/blas.py",),
}


class Import(NamedTuple):
    """One imported name or module, where it stands."""

    place: str
    """Of the file, from the package's folder."""
    line: int
    module: str
    """Dotted; of `from gpucnn.backend import blas` that is gpucnn.backend.blas, if this is a module."""
    in_function: bool
    in_condition: bool

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: imports {self.module}"


def module_name(path: Path) -> str:
    """Of a file of the package, e.g. gpucnn.backend for backend/__init__.py."""
    parts = ("gpucnn", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(path: Path) -> Iterator[Import]:
    place = path.relative_to(ROOT).as_posix()
    below: list[tuple[ast.AST, bool, bool]] = [(ast.parse(path.read_text()), False, False)]
    while below:
        node, in_function, in_condition = below.pop()
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [f"{base}.{alias.name}" for alias in node.names]
            modules = [name if name in FILES or base == "gpucnn" else base for name in names]
        for module in modules:
            yield Import(place, node.lineno, module, in_function, in_condition)
        in_function, in_condition = (
            in_function or isinstance(node, ast.FunctionDef),
            in_condition or isinstance(node, ast.If),
        )
        children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
        below += [(child, in_function, in_condition) for child in children]


@functools.cache
def imports() -> dict[str, list[Import]]:
    """Those of each module; read once they are wanted, not while tests are collected."""
    return {name: list(imports_of(path)) for name, path in FILES.items()}


def every_import() -> list[Import]:
    return [found for of_module in imports().values() for found in of_module]


def packages(found: Import) -> tuple[str, str]:
    """The package that imports, and the one that is imported; "" for one that is not ours."""
    first, _, rest = found.module.partition(".")
    return found.place.partition("/")[0].removesuffix(".py"), rest.partition(".")[0] if first == "gpucnn" else ""


def test_every_package_has_a_level() -> None:
    found = {
        path.name.removesuffix(".py")
        for path in ROOT.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__", "__main__"} == set(LEVELS)


def test_imports_go_down() -> None:
    faults = [f"{found}: a relative import" for found in every_import() if found.module.startswith(".")]
    for found in every_import():
        own, other = packages(found)
        if own in ("__init__", "__main__") or other in ("", own, "__version__"):
            continue
        level = FACES.get(found.place, LEVELS[own])
        if not (LEVELS[other] < level or (own, other) in SAME_LEVEL):
            faults.append(f"{found}: {own} has level {level}, {other} {LEVELS[other]}")
    assert faults == [], "\n".join(faults)


def test_what_is_imported_where() -> None:
    """Functions import optional libraries only; these are imported where they are used, and devices are named at home."""
    faults = []
    for found in every_import():
        library = found.module.partition(".")[0]
        first_use = found.module.removeprefix("gpucnn.").replace(".", "/") + ".py" in LOADED_AT_FIRST_USE
        if found.in_function and library not in OPTIONAL and not first_use:
            faults.append(f"{found}: it belongs at the top of the file")
        if library in OPTIONAL and not (found.in_function or found.in_condition or found.place in LOADED_AT_FIRST_USE):
            faults.append(f"{found}: it must be imported where it is used")
        if not found.place.startswith(HOMES.get(library, (found.place,))):
            faults.append(f"{found}: it may be imported in {', '.join(HOMES[library])} alone")
    assert faults == [], "\n".join(faults)


def circle_through(start: str, graph: dict[str, set[str]]) -> list[str]:
    """The shortest way along imports from a module back to it, both ends included; empty if there is none."""
    ways, seen = [[start]], {start}
    for way in ways:
        for module in sorted(graph[way[-1]]):
            if module == start:
                return [*way, start]
            if module not in seen:
                seen.add(module)
                ways.append([*way, module])
    return []


def test_no_circles() -> None:
    """Imports for annotations alone, under TYPE_CHECKING, included."""
    graph = {name: {found.module for found in of_module} & set(FILES) for name, of_module in imports().items()}
    circles: list[list[str]] = []
    for module in graph:
        if not any(module in circle for circle in circles) and (circle := circle_through(module, graph)):
            circles.append(circle)
    assert circles == [], "\n".join(" -> ".join(circle) for circle in circles)
