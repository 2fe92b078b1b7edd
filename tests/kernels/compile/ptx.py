"""Runs PTX as NVRTC writes it, for kernels of one block without branches that part its threads: a judge of inline PTX.

Threads go in step, instruction by instruction; what those for tensor cores do is told by the tables of the PTX ISA. A copy by
cp.async comes when it is waited for. An instruction that is not known ends the run with its name.
"""

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpucnn.testing.nvrtc import CUPY_OPTIONS, Nvrtc
from tests.testing.emulator.ptx_tables import BF16_A, BF16_B, SUMS, TF32_A, TF32_B, matrix_of
from tests.testing.emulator.rounding import as_bf16, as_tf32, bf16_bits, bits

Array = np.ndarray[Any, Any]
Values = list[int]
"""Of a register in all threads, as unsigned bits."""


@functools.cache
def ptx_of(nvrtc: Nvrtc, source: str) -> str:
    """What the source is in PTX, for sm_80."""
    library, program, size = nvrtc._library, ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    options = [option.encode() for option in (*CUPY_OPTIONS, "-arch=compute_80")]
    assert library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)) == 0
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return text.value.decode()


class Block:
    """A thread block of a kernel: `arguments` are arrays, which it fills, and NumPy integers."""

    def __init__(self, ptx: str, kernel: str, threads: int, arguments: Sequence[Array | np.integer[Any]]) -> None:
        body = re.sub(r"//.*", "", ptx.partition(f".entry {kernel}(")[2].partition("{")[2].partition("\n}")[0])
        self.threads, self.registers = threads, dict[str, Values]()
        self.memory = {"global": bytearray(256), "shared": bytearray()}
        self.symbols: dict[str, int] = {"%ntid.x": threads, "%ctaid.x": 0}
        arrays = []
        for i, argument in enumerate(arguments):
            value = int(argument) if isinstance(argument, np.integer) else len(self.memory["global"])
            self.symbols[f"{kernel}_param_{i}"] = value
            if isinstance(argument, np.ndarray):
                arrays.append((argument, value))
                self.memory["global"] += argument.tobytes() + bytes(-argument.nbytes % 256)
        for name, size in re.findall(r"\.shared \.align \d+ \.b8 (\w+)\[(\d+)\];", body):
            self.symbols[name] = len(self.memory["shared"])
            self.memory["shared"] += b"\xff" * (int(size) + -int(size) % 16)
        self.under_way: list[Callable[[], None]] = []
        self.groups: list[list[Callable[[], None]]] = []
        for text in re.findall(r"^\s*([@\w][^;]*);", body, re.MULTILINE):
            if not text.startswith("@"):
                self.do(" ".join(text.split()))
            else:  # a branch that no thread takes
                assert not any(self.registers[text.split()[0][1:]]), text
        for array, start in arrays:
            array[...] = np.frombuffer(self.memory["global"], array.dtype, array.size, start).reshape(array.shape)

    def do(self, text: str) -> None:
        opcode, _, rest = text.partition(" ")
        operands = [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", rest) if part.strip()]
        name, *words = opcode.split(".")
        if name in ("mma", "ldmatrix", "cp", "bar", "ret") or opcode in ("cvt.rna.tf32.f32", *HALVES):
            {"mma": self.multiply, "ldmatrix": self.load_matrices, "cp": self.copy, "cvt": self.round}.get(
                name, lambda *_: None
            )(opcode, operands)
        elif name in ("ld", "st"):
            self.access(name, words, operands)
        elif operands[0].startswith("{"):
            targets, values = names(operands[0]), self.value(operands[1])
            width = int(words[-1][1:]) // len(targets)
            for i, target in enumerate(targets):
                self.registers[target] = [value >> i * width & (1 << width) - 1 for value in values]
        elif operands[1].startswith("{"):
            parts = [self.value(part) for part in names(operands[1])]
            width = int(words[-1][1:]) // len(parts)
            self.registers[operands[0]] = [
                sum(value << i * width for i, value in enumerate(row)) for row in zip(*parts, strict=True)
            ]
        else:
            self.compute(opcode, words, operands)

    def compute(self, opcode: str, words: list[str], operands: list[str]) -> None:
        name, kind = opcode.partition(".")[0], words[-1]
        size = int(kind[1:])
        rows = zip(*((as_type(value, kind) for value in self.value(part)) for part in operands[1:]), strict=True)
        found = [OPERATIONS[name](*row) for row in rows]
        target = 64 if "wide" in words else int(words[0][1:]) if name == "cvt" else size
        self.registers[operands[0]] = [int(value) & (1 << target) - 1 for value in found]

    def value(self, operand: str) -> Values:
        if operand == "%tid.x":
            return list(range(self.threads))
        if operand in self.registers:
            return self.registers[operand]
        return [self.symbols[operand] if operand in self.symbols else int(operand) & 2**64 - 1] * self.threads

    def addresses(self, operand: str) -> Values:
        base, _, offset = operand.strip("[]").partition("+")
        return [value + int(offset or 0) for value in self.value(base)]

    def access(self, name: str, words: list[str], operands: list[str]) -> None:
        if words[0] == "param":
            self.registers[operands[0]] = self.value(operands[1].strip("[]"))
            return
        memory, size = self.memory[words[0]], int(words[-1][1:]) // 8
        held, address = operands if name == "ld" else operands[::-1]
        for i, register in enumerate(names(held)):
            places = [slice(start + i * size, start + (i + 1) * size) for start in self.addresses(address)]
            if name == "ld":
                self.registers[register] = [int.from_bytes(memory[place], "little") for place in places]
            else:
                for place, value in zip(places, self.value(register), strict=True):
                    memory[place] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def round(self, opcode: str, operands: list[str]) -> None:
        values = [np.array(self.value(part), np.uint32).view(np.float32) for part in operands[1:]]
        if opcode == "cvt.rna.tf32.f32":
            found = np.where(np.isnan(values[0]), 0x7FFFFFFF, bits(as_tf32(values[0])))
        else:
            halves = [np.where(np.isnan(part), 0x7FFF, bf16_bits(as_bf16(part))).astype(np.uint32) for part in values]
            found = halves[0] if len(halves) == 1 else halves[0] << 16 | halves[1]  # d[31:16] = convert(a)
        self.registers[operands[0]] = found.tolist()

    def held(self, operand: str, dtype: str) -> Array:
        """(lanes, elements) in registers."""
        return np.array([self.value(name) for name in names(operand)], np.uint32).T.copy().view(dtype)

    def multiply(self, opcode: str, operands: list[str]) -> None:
        if "m16n8k8.row.col.f32.tf32.tf32.f32" in opcode:
            places, factors = (TF32_A, TF32_B), [self.held(part, "<u4") & 0xFFFFE000 for part in operands[1:3]]
        else:
            assert "m16n8k16.row.col.f32.bf16.bf16.f32" in opcode
            places, factors = (BF16_A, BF16_B), [self.held(part, "<u2").astype("<u4") << 16 for part in operands[1:3]]
        a, b = (matrix_of(part.view("<f4"), place).astype(float) for part, place in zip(factors, places, strict=True))
        product = a @ b + matrix_of(self.held(operands[3], "<f4"), SUMS)
        for i, register in enumerate(names(operands[0])):
            self.registers[register] = bits(np.array([product[SUMS[lane, i]] for lane in range(32)])).tolist()

    def load_matrices(self, opcode: str, operands: list[str]) -> None:
        starts = self.addresses(operands[1])
        for i, register in enumerate(names(operands[0])):
            rows = [self.memory["shared"][start : start + 16] for start in starts[8 * i : 8 * i + 8]]
            matrix = np.frombuffer(b"".join(rows), "<u2").reshape(8, 8)
            held = np.ascontiguousarray(matrix.T if ".trans." in opcode else matrix)
            self.registers[register] = held.view("<u4").ravel().tolist()  # four lanes a row, from lane 0 on

    def copy(self, opcode: str, operands: list[str]) -> None:
        if opcode == "cp.async.commit_group" or opcode == "cp.async.wait_all":
            self.groups.append(self.under_way)
            self.under_way = []
        if opcode in ("cp.async.wait_group", "cp.async.wait_all"):
            newest = int(operands[0]) if operands else 0
            while len(self.groups) > newest:
                for arrive in self.groups.pop(0):
                    arrive()
        if "shared" in opcode:
            targets, sources, size = self.addresses(operands[0]), self.addresses(operands[1]), int(operands[2])
            moves = list(zip(targets, sources, self.value(operands[3]), strict=True))

            def arrive() -> None:
                for target, source, given in moves:
                    content = bytes(self.memory["global"][source : source + given]) + bytes(size - given)
                    self.memory["shared"][target : target + size] = content

            self.under_way.append(arrive)


HALVES = ("cvt.rn.bf16.f32", "cvt.rn.bf16x2.f32")
OPERATIONS: dict[str, Callable[..., int]] = {
    "mov": lambda a: a,
    "cvta": lambda a: a,
    "cvt": lambda a: a,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "mad": lambda a, b, c: a * b + c,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "rem": lambda a, b: a % b,
    "min": min,
    "setp": lambda a, b: a >= b,
}


def as_type(value: int, kind: str) -> int:
    """The bits as a number of a type such as "s32"."""
    size = int(kind[1:])
    value &= (1 << size) - 1
    return value - (1 << size) if kind[0] == "s" and value >> (size - 1) else value


def names(operand: str) -> list[str]:
    """The registers of "{%r1, %r2}", or of "%r1"."""
    return [name.strip() for name in operand.strip("{}").split(",")]
