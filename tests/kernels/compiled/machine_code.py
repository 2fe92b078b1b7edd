"""What LLVM makes of a kernel for some processor, which need not be this one: the loops of its machine code."""

import re
from typing import Any, NamedTuple

from gpucnn.kernels.compiler import builder, processor

LINUX, DARWIN = "unknown-linux-gnu", "apple-darwin"
PROCESSORS = {
    "haswell": (f"x86_64-{LINUX}", "+avx2,+fma", 8),
    "skylake-avx512": (f"x86_64-{LINUX}", "+avx512f,+avx512vl,+avx512dq,+avx512bw,+avx2,+fma", 16),
    "apple-m1": (f"arm64-{DARWIN}", "+neon,+fp-armv8", 4),
    "neoverse-n1": (f"aarch64-{LINUX}", "+neon,+fp-armv8", 4),
}
"""By LLVM's names: what they are, their features, and how many floats their vectors hold."""

LABEL = re.compile(r"^(\.?L\w+):")
JUMP = re.compile(r"^(?:j\w+|b|b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.?L\w+)")
MULTIPLY_ADD = re.compile(r"^(?:vfn?madd|fmla|fmadd)")
STACK_STORE = re.compile(r"^(?:vmov\w+\s+%[xyz]mm\d+,.*\(%rsp|st[urp]+\s+q\d+,.*\[sp)")


class Loop(NamedTuple):
    """An innermost loop: how many multiply-adds it has, and the lines that store a vector on the stack."""

    multiply_adds: int
    stack_stores: list[str]


def machine_named(name: str) -> Any:
    """One of PROCESSORS, as kernels are written for it."""
    triple, features, lanes = PROCESSORS[name]
    return processor.Processor(triple, name, features, lanes)


def target(machine: Any) -> Any:
    """What emits code for a machine. RuntimeError where LLVM was built without that kind of processor."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    found = binding.Target.from_triple(machine.triple)
    return found.create_target_machine(machine.processor, machine.features, opt=3, jit=True)


def innermost_loops(kernel: Any, machine: Any) -> list[Loop]:
    """The loops of a kernel that have multiply-adds and no loops of their own."""
    from llvmlite import binding

    written = builder.Builder(kernel.name, [argument.name for argument in kernel.arguments], machine.lanes)
    kernel.write(written)
    module = binding.parse_assembly(str(written.finish()))
    module.triple = machine.triple
    lines = [line.strip() for line in target(machine).emit_assembly(module).splitlines()]
    labels = {found[1]: number for number, line in enumerate(lines) if (found := LABEL.match(line))}
    spans = []
    for number, line in enumerate(lines):
        jump = JUMP.match(line)
        if jump and labels.get(jump[1], number) < number:
            spans.append((labels[jump[1]], number))
    innermost = [(a, z) for a, z in spans if not any((a, z) != (c, d) and a <= c and d <= z for c, d in spans)]
    loops = [lines[first:last] for first, last in innermost]
    counts = [sum(bool(MULTIPLY_ADD.match(line)) for line in loop) for loop in loops]
    return [
        Loop(count, [line for line in loop if STACK_STORE.match(line)])
        for count, loop in zip(counts, loops, strict=True)
        if count
    ]
