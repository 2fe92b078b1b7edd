"""Small changes to what predicts a step on a GPU that tests must notice: figures would still come, and be wrong."""

from pathlib import Path

from tests.mutation import Mutant, Table

PREDICTION = "tests/benchmark/test_prediction.py"
UNTOUCHED = "tests/testing/test_untouched_gpu.py"
TESTS_OF = {
    "benchmark/prediction.py": [PREDICTION],
    "benchmark/prediction_report.py": [PREDICTION],
    "benchmark/gpus.py": [PREDICTION],
    "testing/untouched_gpu.py": [UNTOUCHED],
    "testing/kernel_traffic.py": [UNTOUCHED],
}
"""What is run for a change in a file."""

MUTANTS = [
    Mutant(
        "benchmark/prediction.py",
        'waits = of_kind["download"] + of_kind["synchronize"]',
        'waits = of_kind["synchronize"]',
    ),
    Mutant(
        "benchmark/prediction.py",
        "flops += operation.flops if _multiplies(operation) else 0",
        "flops += operation.flops",
    ),
    Mutant(
        "benchmark/prediction.py",
        "return self.gpu.graph_launch + self.device_seconds(tf32)",
        "return self.device_seconds(tf32)",
    ),
    Mutant(
        "benchmark/prediction.py",
        "max(self.device_seconds(), len(self.operations)",
        "min(self.device_seconds(), len(self.operations)",
    ),
    Mutant("benchmark/prediction.py", "return gpu.exchange_floor + _sent", "return _sent"),
    Mutant("benchmark/prediction.py", "return operation.detail[1]", "return operation.read"),
    Mutant("benchmark/prediction.py", "len(operations) - len(exchanges), sent", "len(operations), sent"),
    Mutant("benchmark/prediction.py", "2 * self.needed.multiply_adds", "self.needed.multiply_adds"),
    Mutant("benchmark/prediction.py", "if nbytes < gpu.cache_bytes / 2", "if nbytes < gpu.cache_bytes / 20"),
    Mutant("benchmark/prediction.py", "arithmetic, gpu.launch_floor)", "arithmetic)"),
    Mutant(
        "benchmark/prediction.py",
        "return operation.flops / (rate * busy * filled * reuse)",
        "return operation.flops / (rate * filled * reuse)",
    ),
    Mutant("benchmark/prediction.py", "batch * rows * columns / (tiles * tile_rows * tile_columns)", "1.0"),
    Mutant("benchmark/prediction.py", "key=lambda row: -row.seconds", "key=lambda row: row.seconds"),
    Mutant(
        "benchmark/prediction_report.py",
        "sum(getattr(row, name) for row in rows)",
        "sum(getattr(row, name) for row in rows[1:])",
    ),
    Mutant("benchmark/prediction_report.py", '"host_python_seconds": None', '"host_python_seconds": 0.0'),
    Mutant("benchmark/gpus.py", "tf32=494e12", "tf32=49.4e12", times=2),
    Mutant("benchmark/gpus.py", "title.lower()", "title"),
    Mutant("testing/untouched_gpu.py", "        stand_in.computes = False\n", ""),
    Mutant("testing/untouched_gpu.py", "        cuda.find_problem()  # it computes; its answer is kept\n", ""),
    Mutant("testing/untouched_gpu.py", "2 * batch * m * n * k", "2 * batch * m * n"),
    Mutant("testing/untouched_gpu.py", '{**options, "out": None}', "options"),
    Mutant("testing/untouched_gpu.py", "for log in (self, *self._recordings):", "for log in (self,):"),
    Mutant("testing/untouched_gpu.py", "if array.nbytes <= LARGEST_ZEROS:", "if True:"),
    Mutant("testing/untouched_gpu.py", 'batch if given["stridea"] else 1', "batch"),
    Mutant("testing/untouched_gpu.py", 'operation.kind != "upload", operation.kind != "download"', "True, True"),
    Mutant("testing/untouched_gpu.py", "if kept or place not in axes", "if place not in axes"),
    Mutant("testing/untouched_gpu.py", "min(array._hidden.nbytes, array._block.size)", "array._hidden.nbytes"),
    Mutant(
        "testing/kernel_traffic.py", "if parameter.const or parameter.name in _updated(kernel):", "if parameter.const:"
    ),
    Mutant("testing/kernel_traffic.py", r'source = re.sub(r"//[^\n]*", "", source)', "source = source"),
    Mutant("testing/kernel_traffic.py", r'_ASSIGNED = r"\s*=(?!=)"', r'_ASSIGNED = r"\s*="'),
    Mutant(
        "testing/kernel_traffic.py",
        "        if not parameter.const:\n            written",
        "        if True:\n            written",
    ),
    Mutant(
        "testing/kernel_traffic.py",
        'source[head.end() : head.end() + _closing(source[head.end() :], "{", "}")]',
        "source",
    ),
]

TABLE = Table("predictions", Path(), MUTANTS, TESTS_OF, sample=8)
