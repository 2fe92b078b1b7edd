"""A module imports only packages with a lower number, or siblings of its own package. See CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest

import gpucnn

ROOT = Path(gpucnn.__file__).parent
LEVELS = {
    "errors": 0, "text": 0, "text_table": 0, "checks": 0, "geometry": 0, "regular_file": 0, "backend": 1, "kernels": 2, "autograd": 3, "functions": 4, "layers": 5, "optim": 5,
    "data": 5, "models": 6, "files": 7, "diagnosis": 7, "training": 8, "runs": 9, "benchmark": 10, "testing": 10,
    "cli": 11,
}  # fmt: skip
FACES = {"training/__init__.py": 10}
"""Files that nothing below their level imports: users find there what several packages have."""
SAME_LEVEL = {
    ("checks", "errors"),
    ("checks", "text"),
    ("geometry", "text"),
    ("text_table", "text"),
    ("geometry", "errors"),
    ("geometry", "checks"),
    ("optim", "layers"),
}
OPTIONAL = {
    "cupy",
    "llvmlite",
    "matplotlib",
    "PIL",
    "pillow_heif",
    "safetensors",
    "scipy",
    "tensorboardX",
    "threadpoolctl",
    "tqdm",
}
LOADED_AT_FIRST_USE = ("kernels/compiler/builder.py", "kernels/compiler/dispatch.py")
HOMES = {
    "cupy": ("backend/", "kernels/launch.py"),
    "llvmlite": ("kernels/compiler/",),
    "threadpoolctl": ("backend/blas.py",),
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    """(statement, dotted module name) of every import in a module."""
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert node.module is not None
            if node.module == "gpucnn":
                found += [(node, f"gpucnn.{alias.name}") for alias in node.names]
            else:
                found.append((node, node.module))
    return found


def test_every_package_has_a_level() -> None:
    found = {
        path.name.removesuffix(".py")
        for path in ROOT.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__", "__main__"} == set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    level = FACES.get(path.relative_to(ROOT).as_posix(), LEVELS[own])
    for node, module in imports(ast.parse(path.read_text())):
        first, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if first != "gpucnn" or other in (own, "__version__"):
            continue
        lower = LEVELS[other] < level or (own, other) in SAME_LEVEL
        assert lower, f"{path.name}:{node.lineno}: {own} (level {level}) imports {module} (level {LEVELS[other]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_import_optional_libraries_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    inner = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    guarded = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If) for node in ast.walk(block)}
    for node, module in imports(tree):
        optional = module.partition(".")[0] in OPTIONAL
        if id(node) in inner:
            first_use = f"{module.replace('.', '/').removeprefix('gpucnn/')}.py" in LOADED_AT_FIRST_USE
            assert optional or first_use, f"{path.name}:{node.lineno}: {module} belongs at the top of the file"
        elif optional and path.relative_to(ROOT).as_posix() not in LOADED_AT_FIRST_USE:
            assert id(node) in guarded, f"{path.name}:{node.lineno}: {module} must be imported where it is used"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_devices_are_named_at_home(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for node, module in imports(ast.parse(path.read_text())):
        homes = HOMES.get(module.partition(".")[0], (place,))
        assert place.startswith(homes), f"{place}:{node.lineno}: {module} may be imported in {homes} alone"
