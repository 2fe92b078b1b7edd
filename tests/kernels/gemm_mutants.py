"""Small changes to how cuBLAS is asked for products, and to its stand-in, that tests must notice."""

from pathlib import Path

from tests.mutation import Mutant, Table

GEMM, CUBLAS, STAND_IN = "kernels/gemm.py", "backend/cublas.py", "testing/cublas_stand_in.py"
TESTS = ["tests/kernels/test_gemm.py"]
TESTS_OF = {GEMM: TESTS, CUBLAS: TESTS, STAND_IN: TESTS}
MUTANTS = [
    Mutant(GEMM, "return False, down if rows > 1 else columns", "return False, columns"),
    Mutant(GEMM, "return True, across", "return True, rows"),
    Mutant(GEMM, "return False, down if rows > 1 else columns", "return False, down"),
    Mutant(GEMM, "layout[0] != by_columns", "layout[0] == by_columns"),
    Mutant(GEMM, "layout[0] != by_columns", "layout[0]"),
    Mutant(GEMM, "columns <= down <= MOST", "columns <= down"),
    Mutant(GEMM, "rows <= across <= MOST", "across <= MOST"),
    Mutant(GEMM, "(across == 1 or columns == 1)", "across == 1"),
    Mutant(GEMM, "(down == 1 or rows == 1)", "down == 1"),
    Mutant(GEMM, "stride < 0) and size > 1", "stride < 0)"),
    Mutant(GEMM, "(stride % itemsize or stride < 0)", "stride % itemsize"),
    Mutant(GEMM, "if found and found[-1][1] ==", "if False and found[-1][1] =="),
    Mutant(GEMM, "if found and found[-1][1] ==", "if found or found[-1][1] =="),
    Mutant(GEMM, "and shape[axis - 2] > 1 else 0", "else 0"),
    Mutant(GEMM, "key=lambda axis: axis[0]", "key=lambda axis: -axis[0]"),
    Mutant(GEMM, "inner[1][number] // itemsize", "inner[1][number]"),
    Mutant(GEMM, "step * strides[number] for step", "0 * strides[number] for step"),
    Mutant(GEMM, "Product(right, left, result, inner[0], columns, rows,", "Product(left, right, result, inner[0], columns, rows,"),
    Mutant(GEMM, "inner[0], rows, columns, a.shape[-1])", "inner[0], columns, rows, a.shape[-1])"),
    Mutant(GEMM, "        out[...] = 0\n", "        pass\n"),
    Mutant(GEMM, "or plan.meet(out, a, 0) or plan.meet(out, b, 1)", "or plan.meet(out, b, 1)"),
    Mutant(GEMM, "or plan.meet(out, a, 0) or plan.meet(out, b, 1)", "or plan.meet(out, a, 0)"),
    Mutant(GEMM, "start < other + self.reaches[number] and other < start", "start < other and other < start"),
    Mutant(GEMM, "not plan.takes_result or", ""),
    Mutant(GEMM, "if size > 1 and stride <= reach:", "if False:"),
    Mutant(GEMM, "out.dtype != dtype:", "False:"),
    Mutant(GEMM, "        with beside(a):\n            return", "        if True:\n            return"),
    Mutant(GEMM, "elif out.shape != shape:", "elif False:"),
    Mutant(GEMM, "if dtype not in TYPES:", "if False:"),
    Mutant(CUBLAS, "number[dtype == np.float64]) for number in (_ONE, _ZERO)", "number[dtype == np.float64]) for number in (_ONE, _ONE)"),
    Mutant(CUBLAS, "number[dtype == np.float64])", "number[0])"),
    Mutant(CUBLAS, "        _check(self._library.cublasSetStream_v2(self._pointer, address), \"a stream could not be set\")\n", ""),
    Mutant(CUBLAS, "        self._stream = address\n", ""),
    Mutant(CUBLAS, "if address == self._stream:", "if self._stream is not None:"),
    Mutant(CUBLAS, "if address not in self._workspaces:", "if True:"),
    Mutant(CUBLAS, "            _refuse_in_capture(stream)\n", ""),
    Mutant(CUBLAS, "        _refuse_in_capture(cupy.cuda.get_current_stream())\n", ""),
    Mutant(CUBLAS, "self._library.cublasDestroy_v2(self._pointer)", "pass"),
    Mutant(CUBLAS, "handle = _here.handles.get(device)", "handle = next(iter(_here.handles.values()), None)"),
    Mutant(CUBLAS, "cupy is not _here.cupy", "_here.cupy is None"),
    Mutant(CUBLAS, "chosen_precision() == \"tf32\"", "False"),
    Mutant(CUBLAS, "kind == TYPES[_FLOAT32] and", ""),
    Mutant(CUBLAS, "if status == _OUT_OF_MEMORY:", "if False:"),
    Mutant(CUBLAS, "addresses[second.array] + second.offset", "addresses[second.array]"),
    Mutant(STAND_IN, "        self._check_order(self._handles[handle])\n", ""),
    Mutant(STAND_IN, "for operand in (*read, result):", "for operand in read:"),
    Mutant(STAND_IN, "self._handles[handle].stream, self._handles[handle].has_workspace = stream, False", "self._handles[handle].stream = stream"),
    Mutant(STAND_IN, "if lda < max(1, rows_a) or", "if"),
    Mutant(STAND_IN, "+ self.distance * (self.batch - 1)", ""),
    Mutant(STAND_IN, "np.uint32(0x1000)", "np.uint32(0)"),
    Mutant(STAND_IN, "np.uint32(0xFFFFE000)", "np.uint32(0xFFFFF000)"),
    Mutant(STAND_IN, "np.where(np.isfinite(values), bits.view(np.float32), values)", "bits.view(np.float32)"),
    Mutant(STAND_IN, "if matrices.address % matrices.dtype.itemsize:", "if False:"),
    Mutant(STAND_IN, "if operand.address < result.end and", "if False and"),
    Mutant(STAND_IN, "_meets_itself(result):", "False:"),
]  # fmt: skip

TABLE = Table("products", Path(), MUTANTS, TESTS_OF, options=("--backend", "emulated"), least=5, sample=8)
