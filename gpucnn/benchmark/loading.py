"""How fast a folder of images is read and decoded, each decoder in turn, beside torchvision's ImageFolder with as many workers."""

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from gpucnn.data import DataLoader, ImageFolder
from gpucnn.data.jpeg_decoders import DECODERS, check_decoder
from gpucnn.errors import LibraryError
from gpucnn.text_table import text_table

BATCH_SIZE, SIZE, ROUNDS = 64, 224, 3
TORCHVISION = "torchvision"


def measure(folder: Path, workers: int, told: Callable[[str], None]) -> dict[str, float]:
    """Images a second of a first epoch at 224x224, by decoder and torchvision, if it is there: the median of interleaved rounds."""
    ways = {name: _ours(folder, workers, name) for name in _decoders()}
    with suppress(ImportError, RuntimeError):  # one for another PyTorch
        ways[TORCHVISION] = _torchvision(folder, workers)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, epoch in ways.items():
            told(f"{name}, {number + 1} of {ROUNDS}")
            start = time.perf_counter()
            count = epoch()
            found[name].append(count / (time.perf_counter() - start))
    return {name: statistics.median(rates) for name, rates in found.items()}


def lines(found: dict[str, float]) -> list[str]:
    """A table of what `measure` gives, with ratios to torchvision if it is there."""
    rival = found.get(TORCHVISION)
    rows = [[name, f"{rate:.0f}", "" if rival is None else f"{rate / rival:.2f}"] for name, rate in found.items()]
    return text_table(["images from files", "images/s", f"times {TORCHVISION}"], rows, "lrr")


def _decoders() -> Iterator[str]:
    for name in DECODERS:
        with suppress(LibraryError):
            yield check_decoder(name)


def _ours(folder: Path, workers: int, decode: str) -> Callable[[], int]:
    def epoch() -> int:
        images = ImageFolder(folder, SIZE, cache_bytes=0).decoded_by(decode)
        return sum(len(labels) for _, labels in DataLoader(images, BATCH_SIZE, shuffle=True, workers=workers))

    return epoch


def _torchvision(folder: Path, workers: int) -> Callable[[], int]:
    torch = importlib.import_module("torch.utils.data")
    datasets, transforms = (importlib.import_module(f"torchvision.{name}") for name in ("datasets", "transforms"))
    change = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()])
    images = datasets.ImageFolder(str(folder), change)

    def epoch() -> int:
        loader = torch.DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=workers)
        return sum(len(labels) for _, labels in loader)

    return epoch
