"""Functions are called with few arguments: what has more takes a value object."""

import ast
from collections.abc import Iterator
from pathlib import Path

import gpucnn

ROOT = Path(gpucnn.__file__).parent
MOST = 7
AS_IN_PYTORCH = {
    "functions/conv.py: conv2d",
    "functions/conv.py: conv_transpose2d",
    "functions/normalization.py: batch_norm",
    "layers/sequence.py: Conv1d.__init__",
    "layers/normalization.py: _BatchNorm.__init__",
    "layers/conv.py: Conv2d.__init__",
    "layers/conv.py: ConvTranspose2d.__init__",
    "layers/conv.py: SeparableConv2d.__init__",
    "data/loader.py: DataLoader.__init__",
    "optim/rmsprop.py: RMSprop.__init__",
}
"""Signatures that users know from PyTorch, or that follow from them."""
AS_IN_C = {"testing/cublas_stand_in.py: CublasStandIn.cublasGemmStridedBatchedEx"}
"""What stands for a function of a library."""
OWN = {"training/trainer.py: Trainer.__init__", "image_classifier/classifier.py: ImageClassifier.__init__"}
"""What users write with names: a value object would be one more thing to know."""


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every function below a node, with its classes, and how many parameters it has beside `self` or `cls`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name = f"{prefix}{node.name}"
            if isinstance(node, ast.FunctionDef):
                given = node.args
                names = [one.arg for one in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
                yield name, len([one for one in names if one not in ("self", "cls")])
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def test_no_function_has_many_parameters() -> None:
    long = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in ROOT.rglob("*.py")
        for name, count in functions(ast.parse(path.read_text()))
        if count > MOST
    }
    assert sorted(long - AS_IN_PYTORCH - AS_IN_C - OWN) == []
    assert sorted((AS_IN_PYTORCH | OWN) - long) == []
