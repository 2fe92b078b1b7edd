"""What the files in torch_written/ hold, and how torch 2.13.0 has written them: `python -m tests.files.torch_examples`.

In the nox session oracle PyTorch writes them anew, and what is read is compared again: tests/pytorch/test_weights.py.
"""

from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "torch_written"
FILES = {"zip.pth": True, "legacy.pth": False}
"""By name, whether they are zip files."""

COUNT = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
EXPECTED: dict[str, np.ndarray] = {
    "conv.weight": COUNT / 8 - 1,
    "turned": (COUNT.transpose(2, 0, 1) / 8 - 1)[1::2],
    "channels_last": COUNT[None] / 8,
    "half": np.array([1.5, -0.25, 65504, 6e-8], np.float16).astype(np.float32),
    "brain": np.array([1.0, -2.5, 3.3895313892515355e38, 1e-40], np.float32).view(np.uint32) >> 16 << 16,
    "double": np.array([1 / 3, 1e300]),
    "long": np.array([[1 << 40, -7]]),
    "int": np.array([-(1 << 31)], np.int32),
    "short": np.array([-(1 << 15)], np.int16),
    "char": np.array([-128, 127], np.int8),
    "byte": np.array([0, 255], np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": np.full((2, 2), 0.125, np.float32),
    "bn.num_batches_tracked": np.array(7),
}
EXPECTED["brain"] = EXPECTED["brain"].view(np.float32)


def write(folder: Path, wrap: Any = lambda state: state) -> None:
    """The files, by PyTorch; `wrap` puts the state into a checkpoint."""
    import collections

    import torch

    weight = torch.tensor(EXPECTED["conv.weight"])
    state = collections.OrderedDict({name: torch.tensor(array) for name, array in EXPECTED.items()})
    state["conv.weight"], state["turned"] = weight, weight.permute(2, 0, 1)[1::2]
    state["channels_last"] = state["channels_last"].contiguous(memory_format=torch.channels_last)
    state["half"], state["brain"] = state["half"].half(), state["brain"].bfloat16()
    state["parameter"] = torch.nn.Parameter(state["parameter"])
    state._metadata = collections.OrderedDict({"": {"version": 1}})  # as Module.state_dict has it
    for name, is_zip in FILES.items():
        torch.save(wrap(state), folder / name, _use_new_zipfile_serialization=is_zip)


if __name__ == "__main__":
    write(FOLDER)
