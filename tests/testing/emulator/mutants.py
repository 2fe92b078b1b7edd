"""Small changes to what the emulator makes of tensor cores and of copies, which its tests must notice."""

from pathlib import Path

from gpucnn.testing.nvrtc import find_library
from tests.mutation import Mutant, Table

PTX = "tests/kernels/compile/test_warp.py"
VALUES, REPORTS = "tests/testing/emulator/test_warp.py", "tests/testing/emulator/test_planted_warp_bugs.py"
TESTS_OF = {
    "warp.cuh": [PTX],
    "warp.h": [VALUES],
    "race_detector.h": ["tests/testing/emulator/test_race_detector.py"],
    **{file: [VALUES, REPORTS] for file in ("copies.h", "checks.h", "scheduler.h")},
}
"""What is run for a change in a file."""

MUTANTS = [
    Mutant("warp.cuh", '"f"(second), "f"(first)', '"f"(first), "f"(second)'),
    Mutant("warp.cuh", "cvt.rna.tf32.f32 %0, %1;", "mov.b32 %0, %1;"),
    Mutant("warp.cuh", '"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])', '"r"(a[0]), "r"(a[2]), "r"(a[1]), "r"(a[3])', 2),
    Mutant("warp.cuh", '"r"(b[0]), "r"(b[1])', '"r"(b[1]), "r"(b[0])', 2),
    Mutant("warp.cuh", "x2.trans.shared", "x2.shared"),
    Mutant("warp.cuh", "x4.shared.b16 {%0,%1,%2,%3}", "x4.shared.b16 {%0,%2,%1,%3}"),
    Mutant("warp.cuh", "16, %2;", "16, 16;"),
    Mutant("warp.cuh", "[%0], [%1], %2, %3;", "[%0], [%1], %2;"),
    Mutant("warp.cuh", '"cp.async.wait_all;"', '"cp.async.wait_group 1;"'),
    Mutant("warp.h", "(__float_as_uint(value) + 0x1000u)", "(__float_as_uint(value) + 0x0fffu)"),
    Mutant("warp.h", "if (isnan(value)) return 0x7fffffffu;", ""),
    Mutant("warp.h", "if (isnan(value)) return 0x7fff;", ""),
    Mutant("warp.h", "0x7fffu + (bits >> 16 & 1)", "0x8000u"),
    Mutant("warp.h", "return bf16_bits(first) |", "return bf16_bits(second) |"),
    Mutant("warp.h", "bits & ~0x1fffu);", "bits);"),
    Mutant("warp.h", "k % 2 ? bits & 0xffff0000u : bits << 16", "k % 2 ? bits << 16 : bits & 0xffff0000u",
           equivalent="of both factors the halves change places, and a sum has no order here"),
    Mutant("warp.h", "sums[row / 8 * 2 + column % 2]", "sums[row / 8 + column % 2 * 2]"),
    Mutant("warp.h", "a[row / 8 + half * 2]", "a[row / 8 * 2 + half]"),
    Mutant("warp.h", "k * 8 / DEPTH % 4", "k * 4 / DEPTH % 4"),
    Mutant("warp.h", "double total = sum;", "double total = 0;"),
    Mutant("warp.h", "rows.all[i * 8 + group])[place]", "rows.all[i * 8 + place])[group]"),
    Mutant("warp.h", "rows.all[i * 8 + place * 2])[group]", "rows.all[i * 8 + place])[group]"),
    Mutant("copies.h", "given < 0 || given > bytes", "given < 0"),
    Mutant("copies.h", "    memset(target, 0xff, bytes);\n", ""),
    Mutant("copies.h", "copy.group + newest >= groups[thread]", "copy.group + newest > groups[thread]"),
    Mutant("copies.h", "!also_without_group &&", ""),
    Mutant("copies.h", "        memset(copy.target + copy.given, 0, copy.bytes - copy.given);\n", ""),
    Mutant("copies.h", "    if (copies[thread].empty()) return;", "    return;"),
    Mutant("copies.h", "copy.group == groups[thread] ?", "false ?"),
    Mutant("checks.h", "    check_access(copy.target, copy.bytes, COPY, copy.caller);\n", ""),
    Mutant("checks.h", "    check_range((void*)copy.source, copy.given, READ, copy.caller);\n    check_access",
           "    check_access"),
    Mutant(
        "checks.h",
        "    check_range((void*)copy.source, copy.given, READ, copy.caller);\n    if (!launch",
        "    if (!launch",
    ),
    Mutant("checks.h", "if ((uintptr_t)copy.source % copy.bytes) fail_access", "if (false) fail_access"),
    Mutant("checks.h", "if (source >= 0 && region->kind == SHARED)", "if (false)"),
    Mutant("checks.h", "if (region->kind != SHARED) fail_access(what, access);", ""),
    Mutant("checks.h", "    check_alignment(*region, kind, size, code, address);\n", ""),
    Mutant("checks.h", "shadow.cells[i].writes[0] = access_of(WRITE, code)", "shadow.cells[i].writes[0] = Access()"),
    Mutant("checks.h", "!region.alignment || (unsigned)region.alignment >= size", "true"),
    Mutant("race_detector.h", " || before.kind == COPY", ""),
    Mutant("race_detector.h", "now.kind == WRITE || now.kind == COPY", "now.kind == WRITE"),
    Mutant("scheduler.h", "        check_nothing_under_way();\n", ""),
    Mutant("scheduler.h", "if (brought->act != act)", "if (false)"),
    Mutant("scheduler.h", "if (exists && threads[first + lane].state != State::returned) continue;", "if (exists) continue;"),
    Mutant("scheduler.h", "if (exists && threads[first + lane].state != State::returned) continue;", "continue;"),
    Mutant("scheduler.h", "    forget_copies();\n", ""),
]  # fmt: skip

if find_library() is None:  # without NVIDIA's compiler nobody reads the PTX
    del TESTS_OF["warp.cuh"]
    MUTANTS = [mutant for mutant in MUTANTS if mutant.file_name in TESTS_OF]

TABLE = Table("tensor cores", Path(), MUTANTS, TESTS_OF, sample=6)
