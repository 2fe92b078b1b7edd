"""Small changes to what the emulator makes of tensor cores and of copies, which its tests must notice."""

from pathlib import Path

from tests.mutation import Mutant, Table

VALUES, REPORTS = "tests/testing/emulator/test_warp.py", "tests/testing/emulator/test_planted_warp_bugs.py"
TESTS_OF = {
    "warp.h": [VALUES],
    **{file: [VALUES, REPORTS] for file in ("copies.h", "checks.h", "race_detector.h", "scheduler.h")},
}
"""What is run for a change in a file."""

MUTANTS = [
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

TABLE = Table("tensor cores", Path("testing/emulator"), MUTANTS, TESTS_OF, sample=6)
