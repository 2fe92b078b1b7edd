"""How many issue slots an element costs in the main loops that a step spends its time in. See `gpucnn.testing.sass`."""

from typing import Literal, NamedTuple

import numpy as np
import pytest

from gpucnn.errors import DeviceError, KernelError
from gpucnn.kernels.convolution import tensor_cores
from gpucnn.kernels.kernel import KERNELS, NARROW, WIDE, IndexType, Variant, source_text
from gpucnn.testing import sass
from gpucnn.testing.nvrtc import Nvrtc
from gpucnn.testing.sass import Instruction, Loop, disassemble, main_loop, parse
from tests.kernels.compile.windows import CONVOLUTIONS, convolution_constants, window_constants

ARCHITECTURE = "sm_90"


class Limit(NamedTuple):
    """How many slots each store, or load, of a main loop may take: one an element, or one a tap."""

    kernel: str
    access: Literal["stores", "loads"]
    most: float
    window: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None

    def __str__(self) -> str:
        if self.window is None:
            return self.kernel
        (height, width), (step, _), _ = self.window
        return f"{self.kernel} {height}x{width}/{step}, a tap"


LIMITS = [
    Limit("bias_relu", "stores", 25),
    Limit("bias_relu_gradient", "stores", 30),
    Limit("channel_sums", "loads", 18),
    *(
        Limit("col2im", "loads", 20, ((size, size), (stride, stride), (1, 1)))
        for size, stride in ((3, 1), (3, 2), (5, 1), (7, 2))
    ),
    *(
        Limit("im2col", "stores", 20, ((size, size), (stride, stride), (1, 1)))
        for size, stride in ((3, 1), (3, 2), (5, 1), (7, 2))
    ),
]

LEAST_SHARE = 0.3
"""Of the instructions of a convolution that gathers, its multiply-adds."""

AS_IT_WAS = """
typedef float T; typedef float A;
extern "C" __global__ void bias_relu(
    const T* rows, const T* bias, T* images, long long size, int channels, long long positions,
    long long image_stride, long long channel_stride, int relu)
{
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += threads) {
        const int channel = (int)(i / positions % channels);
        const long long image = i / positions / channels;
        A value = (A)rows[image * image_stride + channel * channel_stride + i % positions];
        if (bias) value += (A)bias[channel];
        images[i] = (T)(relu && value <= 0 ? (A)0 : value);
    }
}
"""


def loop_of(nvrtc: Nvrtc, source: str, kernel: str) -> Loop:
    return main_loop(disassemble(nvrtc.machine_code(source, ARCHITECTURE))[kernel])


def slots_of(nvrtc: Nvrtc, limit: Limit, index: IndexType) -> float:
    constants = () if limit.window is None else window_constants(*limit.window)
    source = source_text(KERNELS[limit.kernel].source, Variant(np.dtype(np.float32), index, constants))
    loop = loop_of(nvrtc, source, limit.kernel)
    return loop.slots / getattr(loop, limit.access)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_slots(nvrtc: Nvrtc, disassembler: None, slots: list[str], limit: Limit) -> None:
    narrow, wide = slots_of(nvrtc, limit, NARROW), slots_of(nvrtc, limit, WIDE)
    slots.append(f"{limit!s:<24}{narrow:6.1f} of {limit.most:g}; with 64-bit indices {wide:.1f}")
    assert narrow <= limit.most


def multiply_share(instructions: list[Instruction], multiply_adds: int) -> float:
    """Of what a step of implicit.cu issues, the multiply-adds, of which a thread makes so many.

    The loop over depth is inside that over steps, unless it is unrolled as a whole; others inside it count once.
    """
    spans = [(end.target, place) for place, end in enumerate(instructions) if (end.target or place + 1) <= place]
    loops = sorted((last - first + 1, instructions[first : last + 1]) for first, last in spans if first is not None)
    counts = [(length, *(sum(one.name == name for one in loop) for name in ("FFMA", "LDG"))) for length, loop in loops]
    inner, inner_adds = next(((length, adds) for length, adds, loads in counts if adds and not loads), (0, 1))
    length, adds = next((length, adds) for length, adds, loads in counts if adds and loads)
    rounds = 0.0 if inner == 0 else (multiply_adds - (adds - inner_adds)) / inner_adds
    return multiply_adds / (length + max(0.0, rounds - 1) * inner)


@pytest.mark.parametrize("shape", CONVOLUTIONS[1:4], ids=lambda shape: f"{shape[1]} to {shape[2]} channels")
def test_the_share_of_a_gathering_convolution_that_multiplies(
    nvrtc: Nvrtc, disassembler: None, slots: list[str], shape: tuple[int, ...]
) -> None:
    constants = convolution_constants(shape)
    sizes = dict(constants)
    taps = sizes["kernel_height"] * sizes["kernel_width"]
    source = source_text(KERNELS["conv2d_forward"].source, Variant(np.dtype(np.float32), NARROW, constants))
    found = disassemble(nvrtc.machine_code(source, ARCHITECTURE))
    columns = -(-(sizes["weight_channels"] * taps + 1) // 32)
    work = {
        "conv2d_forward": sizes["forward_rows"] * sizes["forward_columns"] * sizes["forward_channels"] * taps // 256,
        "conv2d_images_gradient": sizes["images_rows"]
        * sizes["images_columns"]
        * sizes["images_filters"]
        * taps
        // 256,
        "conv2d_weight_gradient": sizes["weight_rows"] // 4 * columns * 16,
    }
    for kernel, multiply_adds in work.items():
        share = multiply_share(found[kernel], multiply_adds)
        slots.append(f"{kernel:<24}{share:6.0%} multiply-adds, {shape[1]} to {shape[2]} channels")
        assert LEAST_SHARE <= share <= 1


SHARES_ON_TENSOR_CORES = [
    (CONVOLUTIONS[1], 0.03),
    (CONVOLUTIONS[2], 0.07),
    (CONVOLUTIONS[3], 0.08),
    (CONVOLUTIONS[7], 0.1),
]
"""Of the instructions of a main loop, the least that multiply on tensor cores; each makes as much as 32 multiply-adds of a warp.
With 16 channels, the first of them, a tile has 16 rows, and an element that is gathered is multiplied by few numbers."""


@pytest.mark.parametrize(("shape", "least"), SHARES_ON_TENSOR_CORES, ids=lambda one: str(one)[:12])
def test_the_share_that_multiplies_on_tensor_cores(
    nvrtc: Nvrtc, disassembler: None, slots: list[str], shape: tuple[int, ...], least: float
) -> None:
    constants = convolution_constants(shape, plan_of=tensor_cores.plan_of)
    source = source_text(tensor_cores.SOURCE, Variant(np.dtype(np.float32), NARROW, constants))
    found = disassemble(nvrtc.machine_code(source, ARCHITECTURE))
    for kernel in tensor_cores.KERNELS:
        # In the first two kernels a step runs one of the texts that read, one for each tap.
        texts = 1 if kernel is tensor_cores.WEIGHT_GRADIENT else 9
        share = share_on_tensor_cores(found[kernel.name], texts)
        slots.append(f"{kernel.name:<24}{share:6.0%} on tensor cores, {shape[1]} to {shape[2]} channels")
        assert least <= share <= 1


def share_on_tensor_cores(instructions: list[Instruction], texts: int) -> float:
    """Of what a round of the innermost loop with such products issues; of blocks that read global memory one of so many runs."""
    spans = [
        (first, last) for last, end in enumerate(instructions) if (first := end.target) is not None and first <= last
    ]
    first, last = min(
        (span for span in spans if any(one.name == "HMMA" for one in instructions[span[0] : span[1] + 1])),
        key=lambda span: span[1] - span[0],
    )
    targets = {one.target for one in instructions}
    blocks: list[list[Instruction]] = [[]]
    for place in range(first, last + 1):
        if place in targets or (blocks[-1] and blocks[-1][-1].name in ("BRA", "BRX")):
            blocks.append([])
        blocks[-1].append(instructions[place])
    issued = sum(len(block) / (texts if any(one.name == "LDG" for one in block) else 1) for block in blocks)
    return sum(one.name == "HMMA" for one in instructions[first : last + 1]) / issued


def test_the_gate_shuts_out_what_was_there_before(nvrtc: Nvrtc, disassembler: None, slots: list[str]) -> None:
    loop = loop_of(nvrtc, AS_IT_WAS, "bias_relu")
    slots.append(f"{'bias_relu, as it was':<24}{loop.slots / loop.stores:6.1f}, with divisions in 64 bits")
    assert loop.slots / loop.stores > 3 * LIMITS[0].most


@pytest.mark.parametrize("limit", LIMITS[:5], ids=str)
def test_indices_of_64_bits_do_not_pass(nvrtc: Nvrtc, disassembler: None, limit: Limit) -> None:
    assert slots_of(nvrtc, limit, WIDE) > limit.most


# What is counted, without any of NVIDIA's tools.

LISTING = """
	.section	.text.twice,"ax",@progbits
        .global         twice
.text.twice:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDG.E R2, desc[UR6][R2.64] ;
        /*0020*/              @!P0 BRA `(.L_x_2) ;
        /*0030*/                   MOV R4, 0x1 ;
        /*0040*/                   CALL.REL.NOINC `($slow) ;
        /*0050*/                   BRA `(.L_x_3) ;
.L_x_2:
        /*0060*/                   FADD R3, R2, R2 ;
.L_x_3:
        /*0070*/                   NOP ;
        /*0080*/                   STG.E desc[UR6][R4.64], R3 ;
        /*0090*/               @P0 BRA `(.L_x_1) ;
.L_x_4:
        /*00a0*/                   FADD R3, R2, R2 ;
        /*00b0*/               @P0 BRA `(.L_x_4) ;
        /*00c0*/                   EXIT ;
.L_x_5:
        /*00d0*/                   BRA `(.L_x_5);
	.section	.text.once,"ax",@progbits
        /*0000*/                   EXIT ;
"""


def test_what_is_read_and_what_is_counted() -> None:
    found = parse(LISTING)
    assert {name: len(instructions) for name, instructions in found.items()} == {"twice": 14, "once": 1}
    assert found["twice"][2] == Instruction("BRA", "BRA", 6)
    assert found["twice"][4] == Instruction("CALL", "CALL.REL.NOINC", None)
    # Not MOV and CALL, the seldom way, and not NOP; the loop without memory is none.
    assert main_loop(found["twice"]) == Loop(slots=6, loads=1, stores=1)
    with pytest.raises(KernelError, match="^there is no loop that reads or writes global memory$"):
        main_loop(found["once"])


def test_the_inner_loop_counts_and_of_two_the_one_with_more_accesses() -> None:
    load, add = Instruction("LDG", "LDG.E", None), Instruction("FADD", "FADD", None)

    def back(target: int) -> Instruction:
        return Instruction("BRA", "BRA", target)

    outer = [add, load, add, load, load, back(3), load, add, add, back(6), back(0)]
    assert main_loop(outer) == Loop(slots=3, loads=2, stores=0)


def test_no_disassembler_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass, "find_disassembler", lambda: None)
    with pytest.raises(DeviceError, match="^nvdisasm is not installed; fix: pip install nvidia-cuda-nvdisasm$"):
        disassemble(b"")


def test_what_is_no_machine_code(disassembler: None) -> None:
    with pytest.raises(KernelError, match="^nvdisasm does not read this: .+"):
        disassemble(b"junk")
