"""Reports on plain arithmetic."""

from pathlib import Path

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.reports.report import Report


def _large_logits(folder: Path) -> None:
    loss = F.cross_entropy(Tensor(np.array([[1e4, -1e4]], np.float32)), np.array([1]))
    assert loss.item() == 2e4


REPORTS = [
    Report("logits of ten thousand", "the loss is finite: softmax goes through log-sum-exp", "", _large_logits),
]
