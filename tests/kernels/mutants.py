"""Small changes to the kernels that their contracts must notice. `python -m tests.kernels.mutants N` tries one of them."""

import sys
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from gpucnn.errors import KernelError
from gpucnn.kernels import launch
from gpucnn.testing import emulated_gpu
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS


class Mutant(NamedTuple):
    """One change: `old`, which stands in the file once or as often as `times` says, becomes `new`."""

    file_name: str
    old: str
    new: str
    times: int = 1
    equivalent: str = ""
    """Why no test can notice it; empty if one must."""
    endless: bool = False
    """Whether it makes the kernel run for ever; that is noticed, too."""

    def __str__(self) -> str:
        return f"{self.file_name}: {self.old.strip()!r} -> {self.new.strip()!r}"


class Result(IntEnum):
    """What a process that tries a mutant exits with; anything else, as 1 for an exception, is a defect of the mutant."""

    NOTICED = 0
    SURVIVED = 3


BACK_ROW = "from_top / stride_height >= output_height"
MUTANTS = [
    Mutant("im2col.cu", "i < size", "i < size - 1"),
    Mutant("im2col.cu", "i += threads", "i += threads + 1"),
    Mutant("im2col.cu", "y >= 0 &&", "y > 0 &&"),
    Mutant("im2col.cu", "x >= 0 && x < width;", "x >= 0 && x <= width;"),
    Mutant("im2col.cu", "row * stride_height - padding_top", "row * stride_height + padding_top"),
    Mutant("im2col.cu", "tap_column * dilation_width", "tap_column * dilation_height"),
    Mutant("im2col.cu", "position / output_width % output_height", "position / output_width % output_width"),
    Mutant("im2col.cu", "(image * channels + channel)", "(image + channel)"),
    Mutant("im2col.cu", "target += positions", "target += 1"),
    Mutant("im2col.cu", "plane[(long long)y * width + x]", "plane[(long long)y * height + x]"),
    Mutant("im2col.cu", "i += threads", "i = threads", endless=True),
    Mutant("col2im.cu", "from_top < 0 ||", ""),
    Mutant("col2im.cu", "from_left % stride_width != 0", "from_left % stride_height != 0"),
    Mutant("col2im.cu", BACK_ROW, "from_top / stride_height > output_height"),
    Mutant("col2im.cu", "x + padding_left", "x - padding_left"),
    Mutant("col2im.cu", "total +=", "total ="),
    Mutant("col2im.cu", "tap_row * kernel_width + tap_column", "tap_row * kernel_height + tap_column"),
    Mutant("col2im.cu", "plane % channels", "plane / channels"),
    Mutant("col2im.cu", "tap_row * dilation_height", "tap_row * dilation_width"),
    Mutant("col2im.cu", "from_left / stride_width >= output_width) continue;", "from_left / stride_width >= output_width) break;"),
    Mutant("max_pool.cu", "value > best ||", "value >= best ||"),
    Mutant("max_pool.cu", "winner < 0 ||", ""),
    Mutant("max_pool.cu", "(value != value && best == best)", "(value != value)"),
    Mutant("max_pool.cu", "|| (value != value && best == best)", ""),
    Mutant("max_pool.cu", "if (y < 0 || y >= height) continue;", "if (y < 0 || y > height) continue;"),
    Mutant("max_pool.cu", "y * width + x;\n                const A", "y * height + x;\n                const A"),
    Mutant("max_pool.cu", "row < output_height &&", "row <= output_height &&"),
    Mutant("max_pool.cu", "min(top + stride_height, height)", "min(top + stride_height, height - 1)"),
    Mutant("max_pool.cu", "max(left, 0)", "left"),
    Mutant("max_pool.cu", "index == winner ? gradient[output] : (T)0", "index == winner ? gradient[output] : (T)1"),
    Mutant("max_pool.cu", "total += (A)gradient", "total = (A)gradient"),
    Mutant("max_pool.cu", "argmax[output] == y * width + x", "argmax[output] == x * width + y"),
    Mutant("max_pool.cu", BACK_ROW, "from_top / stride_height >= output_width"),
    Mutant("max_pool.cu", BACK_ROW, "from_top / stride_height == output_height"),
    Mutant("max_pool.cu", "if (x < 0 || x >= width) continue;", "if (x < 0 || x == width) continue;"),
    Mutant("max_pool.cu", "if (x < 0 || x >= width) continue;", "if (x < 0 || x >= width) break;"),
    Mutant("max_pool.cu", "argmax[output] : -1;", "argmax[output] : 1;"),
    Mutant("max_pool.cu", "if (argmax) argmax[i] = winner;", "argmax[i] = winner;"),
    Mutant("max_pool.cu", "const int index = y * width + x;\n                images", "const int index = y * width + x + 1;\n                images"),
    Mutant("max_pool.cu", "if (from_top < 0 ||", "if (from_top <= 0 ||"),
    Mutant("max_pool.cu", "tap_row < kernel_height; ++tap_row) {\n            const int from_top", "tap_row <= kernel_height; ++tap_row) {\n            const int from_top",
           equivalent="the row that is one tap too many belongs to windows that do not hold the element, so none of them has it as its winner"),
    Mutant("avg_pool.cu", "position >= low &&", "position > low &&"),
    Mutant("avg_pool.cu", "max(count, 1)", "count"),
    Mutant("avg_pool.cu", "dilation_height, first_row, end_row)", "dilation_height, first_row, height)", 2),
    Mutant("avg_pool.cu", "dilation_width, first_column, end_column)", "dilation_width, 0, end_column)", 2),
    Mutant("avg_pool.cu", "x >= 0 && x < width", "x >= 0"),
    Mutant("avg_pool.cu", "(A)rows * (A)columns));\n", "(A)columns * (A)columns));\n"),
    Mutant("avg_pool.cu", "top = from_top - padding_top", "top = from_top"),
    Mutant("avg_pool.cu", "from_left < 0 ||", ""),
    Mutant("avg_pool.cu", "row * output_width + column] /", "column * output_width + row] /"),
    Mutant("avg_pool.cu", "start + tap * dilation", "start + tap"),
    Mutant("avg_pool.cu", "top + tap_row * dilation_height", "top + tap_row * dilation_width"),
    Mutant("avg_pool.cu", "x + padding_left - tap_column * dilation_width", "x + padding_left - tap_column"),
    Mutant("avg_pool.cu", "from_left % stride_width != 0", "from_left % stride_height != 0"),
    Mutant("avg_pool.cu", BACK_ROW, "from_top / stride_height == output_height"),
    Mutant("avg_pool.cu", "(long long)blockIdx.x * blockDim.x + threadIdx.x", "threadIdx.x", 2),
    Mutant("bias_relu.cu", "if (bias) value", "if (!bias) value"),
    Mutant("bias_relu.cu", "relu && value <= 0", "relu && !(value > 0)"),
    Mutant("bias_relu.cu", "bias[channel]", "bias[0]"),
    Mutant("bias_relu.cu", "!output || (A)output[i] != 0", "!output || (A)output[i] > 0"),
    Mutant("bias_relu.cu", "!output ||", ""),
    Mutant("bias_relu.cu", "i / positions % channels", "i % channels", 2),
    Mutant("bias_relu.cu", "image * image_stride", "image * channel_stride", 2),
    Mutant("bias_relu.cu", "passes ? gradient[i] : (T)0", "gradient[i]"),
    Mutant("bias_relu.cu", "(A)output[i] != 0;", "(A)output[i] * (A)gradient[i] != 0;"),
    Mutant("bias_relu.cu", "relu && value <= 0", "relu && value < 0", equivalent="what it lets pass is -0, which equals 0"),
    Mutant("channel_sums.cu", "threadIdx.x < half", "threadIdx.x <= half"),
    Mutant("channel_sums.cu", "half > 0", "half > 1"),
    Mutant("channel_sums.cu", "            __syncthreads();\n        }", "        }"),
    Mutant("channel_sums.cu", "partial[threadIdx.x] = total;\n        __syncthreads();", "partial[threadIdx.x] = total;"),
    Mutant("channel_sums.cu", "task % parts * length", "task * length"),
    Mutant("channel_sums.cu", "min(start + length, elements)", "start + length"),
    Mutant("channel_sums.cu", "i / positions * channels + channel", "i / positions + channel"),
    Mutant("channel_sums.cu", "i += BLOCK", "i += BLOCK + 1"),
    Mutant("channel_sums.cu", "(elements + parts - 1) / parts", "(elements + parts + 1) / parts"),
    Mutant("channel_sums.cu", "task += gridDim.x", "task += gridDim.x + 1"),
    Mutant("channel_sums.cu", "if (threadIdx.x == 0) sums", "sums"),
    Mutant("cross_entropy.cu", "distance = 16; distance > 0; distance /= 2) {", "distance = 8; distance > 0; distance /= 2) {"),
    Mutant("cross_entropy.cu", "distance = 16; distance > 0; distance /= 2) value", "distance = 16; distance > 1; distance /= 2) value"),
    Mutant("cross_entropy.cu", "(A)1 - smoothing", "(A)1"),
    Mutant("cross_entropy.cu", "(A)class_weights[j] * share", "(A)class_weights[label] * share"),
    Mutant("cross_entropy.cu", "(A)row[j] - largest)", "(A)row[j])"),
    Mutant("cross_entropy.cu", "if (target != 0) loss", "loss"),
    Mutant("cross_entropy.cu", "targets = warp_sum(targets);", ""),
    Mutant("cross_entropy.cu", "label >= 0 && label < classes;", "label < classes;"),
    Mutant("cross_entropy.cu", "saved[images + image] - target", "saved[image] - target"),
    Mutant("cross_entropy.cu", "/ divisor * (A)upstream[0]", "/ divisor"),
    Mutant("cross_entropy.cu", "image < images; image += warps", "image <= images; image += warps"),
    Mutant("cross_entropy.cu", "label >= 0 && label < classes ? slope", "label >= 0 && label <= classes ? slope"),
    Mutant("cross_entropy.cu", "A largest = (A)row[0]", "A largest = (A)row[1]"),
    Mutant("cross_entropy.cu", "j += 32) largest", "j += 33) largest"),
    Mutant("cross_entropy.cu", "largest = warp_maximum(largest);", ""),
    Mutant("cross_entropy.cu", "share = smoothing / classes", "share = smoothing / 32"),
    Mutant("cross_entropy.cu", "i / classes", "i / 32"),
    Mutant("cross_entropy.cu", "saved[images + image] = (T)targets;", "saved[images + image] = (T)1;"),
    Mutant("cross_entropy.cu", "if (lane == 0) {", "if (lane == 1) {", equivalent="after the shuffles every lane has the same sums"),
    Mutant("sgd.cu", "momentum * (A)velocities[i] + slope", "momentum * (A)velocities[i] - slope"),
    Mutant("sgd.cu", "nesterov ? slope + momentum * velocity", "nesterov ? slope + velocity"),
    Mutant("sgd.cu", "slope += weight_decay", "slope -= weight_decay"),
    Mutant("sgd.cu", "- lr * step", "- step"),
    Mutant("sgd.cu", "velocities[i] = (T)velocity;", ""),
    Mutant("sgd.cu", "i < size", "i <= size"),
    Mutant("sgd.cu", "i += threads", "i += threads - 1"),
    Mutant("sgd.cu", "if (velocities) {", "{"),
    Mutant("sgd.cu", "if (weight_decay != 0) slope", "slope"),
    Mutant("adam.cu", "fresh1 * slope", "slope"),
    Mutant("adam.cu", "(slope * slope)", "slope"),
    Mutant("adam.cu", "square / correction2", "square"),
    Mutant("adam.cu", ") + eps)", "))"),
    Mutant("adam.cu", "settings[3]", "settings[1]"),
    Mutant("adam.cu", "squares[i] = (T)square;", ""),
    Mutant("adam.cu", "- rate *", "+ rate *"),
    Mutant("adam.cu", "i += threads", "i += threads + 1"),
    Mutant("adam.cu", "if (weight_decay != 0) slope", "slope"),
    Mutant("adam.cu", "sqrt(square / correction2)", "(square / correction2)"),
    Mutant("dropout.cu", "word < threshold", "word <= threshold"),
    Mutant("dropout.cu", "block + 1,", "block,"),
    Mutant("dropout.cu", "round < 10", "round < 9"),
    Mutant("dropout.cu", "high0 ^ word3 ^ key1", "high0 ^ word3 ^ key0"),
    Mutant("dropout.cu", "if (i < size)", ""),
    Mutant("dropout.cu", "k % 2 ?", "k % 2 == 0 ?"),
    Mutant("dropout.cu", "(size + WORDS - 1) / WORDS", "size / WORDS"),
    Mutant("dropout.cu", "block += threads", "block += threads + 1"),
    Mutant("dropout.cu", "word3 = stream[5]", "word3 = stream[4]"),
    Mutant("dropout.cu", "words[k / 2] >> 32", "words[k / 2] >> 31"),
    Mutant("dropout.cu", "(size + WORDS - 1) / WORDS", "size / WORDS + 1", equivalent="the block too many starts at size, and writes nothing"),
]  # fmt: skip


def noticed(mutant: Mutant) -> str | None:
    """What the contract says of the changed kernel; None if it says nothing. KernelError if that does not compile."""
    original = launch.source_text

    def changed(source: Path, dtype: np.dtype) -> str:
        text = original(source, dtype)
        return text.replace(mutant.old, mutant.new) if source.name == mutant.file_name else text

    for dtype in (np.float32, np.float64):
        with emulated_gpu("check"), mock.patch.object(launch, "source_text", changed), np.errstate(all="ignore"):
            try:
                CONTRACTS[mutant.file_name](Backend("emulated"), dtype)
            except (AssertionError, KernelError) as error:
                if "does not compile" in str(error):
                    raise
                return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return None


if __name__ == "__main__":
    said = noticed(MUTANTS[int(sys.argv[1])])
    print(said or "nothing")
    sys.exit(Result.SURVIVED if said is None else Result.NOTICED)
