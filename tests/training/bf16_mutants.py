"""Small changes to how bf16 is held on a GPU, which tests on the emulated one must notice."""

from pathlib import Path

from tests.mutation import Mutant, Table

MUTANTS = [
    Mutant("autograd/operation.py", "result.node.is_bf16, result.node.takes_stored = True, is_bf16, stored", "result.node.is_bf16, result.node.takes_stored = True, is_bf16, False"),
    Mutant("autograd/tape.py", "gradient = _kept(node, through(node.hooks, _in_float32(gradient)))", "gradient = through(node.hooks, _in_float32(gradient))"),
    Mutant("autograd/tape.py", "through(node.hooks, _in_float32(gradient))", "through(node.hooks, gradient)"),
    Mutant("autograd/tape.py", "                if not node.takes_stored:\n                    gradient = _in_float32(gradient)\n", ""),
    Mutant("autograd/tape.py", "if before.dtype == gradient.dtype == BF16:", "if False:", equivalent="the same sums, by way of float32"),
    Mutant("autograd/tape.py", "add(_in_float32(before), _in_float32(gradient))", "add(before, gradient)"),
    Mutant("autograd/rounding.py", " or chosen_precision() != \"bf16\" or not tensors[0].size", " or not tensors[0].size"),
    Mutant("autograd/rounding.py", "if all(tensor.is_bf16 for tensor in tensors) else None", ""),
    Mutant("autograd/rounding.py", "None if tensor.requires_grad and not tensor.is_bf16 else _stored(tensor)", "_stored(tensor)"),
    Mutant("autograd/tensor.py", "self._data, self.is_stored = self.array, False", "return self.array"),
    Mutant("functions/padding.py", "if mode == \"constant\" and value == 0 else None", ""),
    Mutant("autograd/rounding.py", "tensor.held if tensor.is_stored else narrowed(tensor.array)", "narrowed(tensor.array)", equivalent="what is widened and narrowed again is the same"),
    Mutant("kernels/convolution/__init__.py", "round_to(\"bf16\", weight), bias))", "weight, bias))"),
    Mutant("kernels/convolution/__init__.py", "found.images[...] = narrowed(wide.images)", "pass"),
    Mutant("kernels/convolution/__init__.py", "images, round_to(\"bf16\", weight), output, wide)", "images, weight, output, wide)"),
]  # fmt: skip

TESTS = ["tests/training/test_precision_of_devices.py", "tests/autograd/test_precision.py"]
TABLE = Table(
    "bf16 on a GPU",
    Path(),
    MUTANTS,
    dict.fromkeys((mutant.file_name for mutant in MUTANTS), TESTS),
    ("--require-emulator", "--backend", "emulated"),
    least=1,
    sample=6,
)
