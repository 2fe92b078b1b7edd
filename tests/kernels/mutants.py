"""Small changes to the kernels that their contracts must notice. `python -m tests.kernels.mutants N` tries one of them."""

import sys
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
    Mutant("col2im.cu", "from_top < 0 ||", ""),
    Mutant("col2im.cu", "from_left % stride_width != 0", "from_left % stride_height != 0"),
    Mutant("col2im.cu", BACK_ROW, "from_top / stride_height > output_height"),
    Mutant("col2im.cu", "x + padding_left", "x - padding_left"),
    Mutant("col2im.cu", "total +=", "total ="),
    Mutant("col2im.cu", "tap_row * kernel_width + tap_column", "tap_row * kernel_height + tap_column"),
    Mutant("col2im.cu", "plane % channels", "plane / channels"),
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
    Mutant("avg_pool.cu", "position >= low &&", "position > low &&"),
    Mutant("avg_pool.cu", "max(count, 1)", "count"),
    Mutant("avg_pool.cu", "dilation_height, first_row, end_row)", "dilation_height, first_row, height)", 2),
    Mutant("avg_pool.cu", "dilation_width, first_column, end_column)", "dilation_width, 0, end_column)", 2),
    Mutant("avg_pool.cu", "x >= 0 && x < width", "x >= 0"),
    Mutant("avg_pool.cu", "(A)rows * (A)columns));\n", "(A)columns * (A)columns));\n"),
    Mutant("avg_pool.cu", "top = from_top - padding_top", "top = from_top"),
    Mutant("avg_pool.cu", "from_left < 0 ||", ""),
    Mutant("avg_pool.cu", "row * output_width + column] /", "column * output_width + row] /"),
    Mutant("bias_relu.cu", "if (bias) value", "if (!bias) value"),
    Mutant("bias_relu.cu", "relu && value <= 0", "relu && !(value > 0)"),
    Mutant("bias_relu.cu", "bias[channel]", "bias[0]"),
    Mutant("bias_relu.cu", "!output || (A)output[i] != 0", "!output || (A)output[i] > 0"),
    Mutant("bias_relu.cu", "!output ||", ""),
    Mutant("bias_relu.cu", "i / positions % channels", "i % channels", 2),
    Mutant("bias_relu.cu", "image * image_stride", "image * channel_stride", 2),
    Mutant("bias_relu.cu", "passes ? gradient[i] : (T)0", "gradient[i]"),
    Mutant("batch_norm.cu", "    __syncthreads();  // until all have read the sum before\n", ""),
    Mutant("batch_norm.cu", "half > 0", "half > 1"),
    Mutant("batch_norm.cu", "image * (channels - 1)", "image * channels"),
    Mutant("batch_norm.cu", "difference * difference;\n        }\n        square", "difference;\n        }\n        square"),
    Mutant("batch_norm.cu", "- mean;\n", ";\n"),
    Mutant("batch_norm.cu", "/ (A)count", "/ (A)length"),
    Mutant("batch_norm.cu", "((A)own_means[part] - first)", "(A)own_means[part]"),
    Mutant("batch_norm.cu", "first + shift / (A)elements", "first"),
    Mutant("batch_norm.cu", "(A)(min(length, elements - part * length)) * difference", "(A)length * difference"),
    Mutant("batch_norm.cu", "sqrt(square + (A)eps)", "sqrt(square)"),
    Mutant("batch_norm.cu", "if (weight) factor", "factor"),
    Mutant("batch_norm.cu", "bias ? (A)bias[channel]", "weight ? (A)weight[channel]"),
    Mutant("batch_norm.cu", "product * (A)inverse[channel]", "product"),
    Mutant("batch_norm.cu", "((A)values[place] - centre);\n        }\n        sum", "(A)values[place];\n        }\n        sum"),
    Mutant("batch_norm.cu", "part < (channel + 1) * parts", "part < channel * parts + 1"),
    Mutant("batch_norm.cu", "if (start == 0 && weight_gradient)", "if (weight_gradient)"),
    Mutant("batch_norm.cu", "product / (A)elements * scale", "product / (A)elements"),
    Mutant("batch_norm.cu", "weight ? (A)weight[channel] * scale : scale", "scale"),
    Mutant("batch_norm.cu", "through_mean + (", "("),
    Mutant("batch_norm.cu", "        __syncthreads();  // until all have done the task before\n", "", times=2),
    Mutant("channel_sums.cu", "threadIdx.x < half", "threadIdx.x <= half"),
    Mutant("channel_sums.cu", "half > 0", "half > 1"),
    Mutant("channel_sums.cu", "            __syncthreads();\n        }", "        }"),
    Mutant("channel_sums.cu", "partial[threadIdx.x] = total;\n        __syncthreads();", "partial[threadIdx.x] = total;"),
    Mutant("channel_sums.cu", "task % parts * length", "task * length"),
    Mutant("channel_sums.cu", "min(start + length, elements)", "start + length"),
    Mutant("channel_sums.cu", "i / positions * channels + channel", "i / positions + channel"),
    Mutant("channel_sums.cu", "i += BLOCK", "i += BLOCK + 1"),
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
    Mutant("sgd.cu", "momentum * (A)velocities[i] + slope", "momentum * (A)velocities[i] - slope"),
    Mutant("sgd.cu", "nesterov ? slope + momentum * velocity", "nesterov ? slope + velocity"),
    Mutant("sgd.cu", "slope += weight_decay", "slope -= weight_decay"),
    Mutant("sgd.cu", "- lr * step", "- step"),
    Mutant("sgd.cu", "velocities[i] = (T)velocity;", ""),
    Mutant("sgd.cu", "i < size", "i <= size"),
    Mutant("sgd.cu", "i += threads", "i += threads - 1"),
    Mutant("adam.cu", "fresh1 * slope", "slope"),
    Mutant("adam.cu", "(slope * slope)", "slope"),
    Mutant("adam.cu", "square / correction2", "square"),
    Mutant("adam.cu", ") + eps)", "))"),
    Mutant("adam.cu", "settings[3]", "settings[1]"),
    Mutant("adam.cu", "squares[i] = (T)square;", ""),
    Mutant("adam.cu", "- rate *", "+ rate *"),
    Mutant("dropout.cu", "word < threshold", "word <= threshold"),
    Mutant("dropout.cu", "block + 1,", "block,"),
    Mutant("dropout.cu", "round < 10", "round < 9"),
    Mutant("dropout.cu", "high0 ^ word3 ^ key1", "high0 ^ word3 ^ key0"),
    Mutant("dropout.cu", "if (i < size)", ""),
    Mutant("dropout.cu", "k % 2 ?", "k % 2 == 0 ?"),
    Mutant("dropout.cu", "(size + WORDS - 1) / WORDS", "size / WORDS"),
    Mutant("dropout.cu", "block += threads", "block += threads + 1"),
]  # fmt: skip


def noticed(mutant: Mutant) -> str | None:
    """What the contract says of the changed kernel; None if it says nothing."""
    original = launch.source_text

    def changed(source: Path, dtype: np.dtype) -> str:
        text = original(source, dtype)
        if source.name != mutant.file_name:
            return text
        return text.replace(mutant.old, mutant.new)

    for dtype in (np.float32, np.float64):
        with emulated_gpu("check"), mock.patch.object(launch, "source_text", changed), np.errstate(all="ignore"):
            try:
                CONTRACTS[mutant.file_name](Backend("emulated"), dtype)
            except (AssertionError, KernelError) as error:
                return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return None


if __name__ == "__main__":
    said = noticed(MUTANTS[int(sys.argv[1])])
    print(said or "nothing")
    sys.exit(0 if said else 3)
