"""Small changes to what the stand-in gives as CuPy does, that the snippets which the real CuPy answered must notice."""

from pathlib import Path

from tests.mutation import Mutant, Table

SNIPPETS = ["tests/testing/test_like_cupy.py"]
TESTS_OF = dict.fromkeys(("cupy_results.py", "cupy_words.py", "cupy_stand_in.py", "cupy_array.py"), SNIPPETS)
"""What is run for a change in a file."""

MUTANTS = [
    Mutant("cupy_results.py", "(np.abs(values) < TINY) & (values != 0)", "(np.abs(values) < 0) & (values != 0)"),
    Mutant("cupy_results.py", "values[small] *= 0", "values[small] = 0"),
    Mutant("cupy_results.py", "(np.positive, np.conjugate, np.copysign, np.signbit)", "(np.positive,)"),
    Mutant("cupy_results.py", "operands = _flushed_operands(operands)\n", ""),
    Mutant("cupy_results.py", "if any(small) and np.result_type(*found) == np.float32:", "if any(small):"),
    Mutant("cupy_results.py", "return results if out is not None else _all_flushed(results)", "return results"),
    Mutant("cupy_results.py", 'options.get("casting") == "unsafe"', "False"),
    Mutant("cupy_results.py", "] *= TINY / np.finfo(np.float32).smallest_subnormal", "] *= 1"),
    Mutant("cupy_results.py", "    for target in out or ():\n        _flush(target)\n", ""),
    Mutant("cupy_results.py", "    if not is_kept:\n        _flush(out)\n", ""),
    Mutant("cupy_results.py", "return _all_flushed(result)", "return result"),
    Mutant("cupy_results.py", "_all_flushed(value) for value in arguments", "value for value in arguments"),
    Mutant("cupy_results.py", "if is_cast and 0 < abs(source) < TINY:", "if is_cast and False:"),
    Mutant("cupy_results.py", "and type(source) is not np.float32", ""),
    Mutant("cupy_results.py", "if np.result_type(first, second) != np.float32:", "if False:"),
    Mutant("cupy_results.py", "np.where(flushed(condition), first, second)", "np.where(condition, first, second)"),
    Mutant("cupy_results.py", 'if dtype.kind not in "biufc":', 'if dtype.kind not in "biufcO":'),
    Mutant("cupy_results.py", "flushed(flushed(values).astype(dtype, order))", "flushed(values).astype(dtype, order)"),
    Mutant("cupy_results.py", "flushed(flushed(values).astype(dtype, order))", "flushed(values.astype(dtype, order))"),
    Mutant("cupy_results.py", 'np.dtype(f"{dtype.kind}4")', "dtype"),
    Mutant("cupy_results.py", "found[above], found[below] = limits.max, limits.min", "found[above] = limits.max"),
    Mutant("cupy_results.py", "if wide.itemsize == 8 or values.dtype == np.float64:", "if wide.itemsize == 8:"),
    Mutant("cupy_results.py", "cast(source, dtype, copy=False) if isinstance", "source if isinstance"),
    Mutant("cupy_results.py", "np.float64(10) ** abs(decimals)", "10 ** abs(decimals)"),
    Mutant("cupy_results.py", "compared = flushed(values)", "compared = values"),
    Mutant("cupy_results.py", 'np.argsort(a, axis, kind="stable"), axis)', 'np.argsort(a, axis, kind="stable"), -1)'),
    Mutant("cupy_results.py", "_innermost(function(a, kth, axis), axis)", "function(a, kth, axis)"),
    Mutant("cupy_results.py", "rows.reshape(-1, rows.shape[-1]).reshape(rows.shape), -1, axis)", "rows, -1, axis)"),
    Mutant("cupy_results.py", "function(a if order else flushed(a), axis", "function(flushed(a), axis"),
    Mutant("cupy_results.py", "function(a if order else flushed(a), axis", "function(a, axis"),
    Mutant("cupy_results.py", 'if bound.get("dtype") is not None and operation', "if False and operation"),
    Mutant("cupy_results.py", 'is_kept = order and operation != "MEAN"', "is_kept = order"),
    Mutant("cupy_results.py", 'f"CUPY_CUB_{operation}" if order else', 'f"CUPY_CUB_{operation}" if True else'),
    Mutant("cupy_results.py", "if len(reduced) == a.ndim:", "if False:"),
    Mutant("cupy_results.py", 'return "F" if max(reduced', 'return "C" if max(reduced'),
    Mutant("cupy_results.py", 'possible = a.dtype != bool or operation.startswith("ARG")', "possible = True"),
    Mutant("cupy_words.py", 'r"Index \\1"', 'r"index \\1"'),
    Mutant("cupy_words.py", 're.sub(r",(?=\\d)", ", ", found.expand(words))', "found.expand(words)"),
    Mutant("cupy_words.py", "raise kind(words) from None", "raise"),
    Mutant("cupy_stand_in.py", "return tuple(places[:, axis] for", "return tuple(places[:, axis].copy() for"),
    Mutant("cupy_stand_in.py", '"pad", "roll"', '"pad"'),
    Mutant("cupy_stand_in.py", '*("amax", "amin", "max", "mean", "min", "prod", "sum"),', ""),
    Mutant("cupy_array.py", "lowered, as_stored(source, target.dtype)", "lowered, source"),
]

TABLE = Table("cupy", Path("testing"), MUTANTS, TESTS_OF, ("--backend", "emulated"), sample=12)
