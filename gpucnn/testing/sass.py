"""What a GPU issues for one element of a kernel's main loop: machine code from NVRTC, read with NVIDIA's disassembler.

Each instruction takes an issue slot of the multiprocessor, whatever it does: on an H200 some 50 slots an element keep a
kernel that only adds a bias from the speed of the memory. Neither tool needs a GPU.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from gpucnn.errors import DeviceError, KernelError

_FUNCTION = re.compile(r"\s*\.section\s+\.text\.([\w$]+)\s*,")
_LABEL = re.compile(r"(\.L_\w+):")
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);")
_TARGET = re.compile(r"`\((\.L_\w+)\)")
_ENDS_A_BLOCK = ("BRA", "BRX", "EXIT", "RET", "CALL", "BREAK")


class Instruction(NamedTuple):
    """One instruction: "LDG", the whole word "LDG.E.CONSTANT", and where it jumps to, if it does so within the kernel."""

    name: str
    word: str
    target: int | None


class Loop(NamedTuple):
    """A loop that reads or writes global memory."""

    slots: int
    """Instructions of a round; not those that lead to a call, as what is seldom needed lies in a subroutine."""
    loads: int
    stores: int


def find_disassembler() -> Path | None:
    """nvdisasm: of the pip wheel nvidia-cuda-nvdisasm, else the one on the path; None if there is none."""
    package = importlib.util.find_spec("nvidia")
    for folder in (package.submodule_search_locations or []) if package else []:
        for path in sorted(Path(folder).glob("cu*/bin/nvdisasm*")):
            return path
    name = shutil.which("nvdisasm")
    return Path(name) if name else None


def disassemble(cubin: bytes) -> dict[str, list[Instruction]]:
    """The instructions of each function in `cubin`. DeviceError without nvdisasm, KernelError if it does not read it."""
    program = find_disassembler()
    if program is None:
        raise DeviceError("nvdisasm is not installed; fix: pip install nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        done = subprocess.run([program, "-c", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"nvdisasm does not read this: {done.stderr.strip()}")
    return parse(done.stdout)


def parse(text: str) -> dict[str, list[Instruction]]:
    """The instructions of each function in what `nvdisasm -c` prints."""
    found: dict[str, list[Instruction]] = {}
    words: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    name = ""

    def close() -> None:
        if name:
            found[name] = [Instruction(word.partition(".")[0], word, _target(rest, labels)) for word, rest in words]

    for line in text.splitlines():
        if match := _FUNCTION.match(line):
            close()
            name, words, labels = match[1], [], {}
        elif match := _LABEL.match(line):
            labels[match[1]] = len(words)
        elif match := _INSTRUCTION.match(line):
            words.append((match[1], match[2]))
    close()
    return found


def main_loop(instructions: list[Instruction]) -> Loop:
    """The innermost loop with the most accesses to global memory; of several, the longest. KernelError if there is none.

    Loops are unrolled, and made anew for what does not change in them (such as whether there is a bias): the one with the
    most accesses does the most work in a round, and takes all there is to take.
    """
    loops = {}
    for end, instruction in enumerate(instructions):
        if instruction.name == "BRA" and instruction.target is not None and instruction.target <= end:
            loop = _loop(instructions, instruction.target, end + 1)
            if loop.loads + loop.stores:
                loops[instruction.target, end + 1] = loop
    inner = [
        loop
        for (start, end), loop in loops.items()
        if not any(start <= first and last <= end and (first, last) != (start, end) for first, last in loops)
    ]
    if not inner:
        raise KernelError("there is no loop that reads or writes global memory")
    return max(inner, key=lambda loop: (loop.loads + loop.stores, loop.slots))


def _loop(instructions: list[Instruction], start: int, end: int) -> Loop:
    """Counted block by block, without those that end in a call."""
    targets = {instruction.target for instruction in instructions}
    counted: list[Instruction] = []
    block: list[Instruction] = []
    for place in range(start, end):
        if place in targets:
            counted, block = counted + block, []
        block.append(instructions[place])
        if instructions[place].name in _ENDS_A_BLOCK:
            counted += [] if instructions[place].name == "CALL" else block
            block = []
    names = [instruction.name for instruction in counted + block]
    return Loop(len(names) - names.count("NOP"), names.count("LDG"), names.count("STG"))


def _target(rest: str, labels: dict[str, int]) -> int | None:
    match = _TARGET.search(rest)
    return labels.get(match[1]) if match else None
