"""`gpucnn plot`: the curves of runs in one picture."""

from pathlib import Path

import pytest
from PIL import Image

from gpucnn.cli.main import main
from tests.plot.written_runs import ROWS, write_run


def test_it_draws_runs_and_says_where(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    first, second = write_run(Path("a/run"), ROWS), write_run(Path("b/run"), ROWS[:1], lr=0.1)
    assert main(["plot", str(first), str(second)]) == 0
    with Image.open("curves.png") as image:
        text = image.text["Description"]  # type: ignore[attr-defined]
    assert "run (lr 0.003), 3 epochs" in text
    assert "run (lr 0.1), 1 epoch" in text
    assert capsys.readouterr() == ("wrote curves.png\n", "")
