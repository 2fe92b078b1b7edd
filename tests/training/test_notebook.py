"""Progress in a real kernel: tqdm's widget where somebody looks on, and nothing but the table where nobody does."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpucnn.training import notebook
from tests.notebooks import kernel, printed

TRAINING = """
import numpy as np
from gpucnn import data, layers, optim, training

class Watch(training.Callback):
    shown = ""
    def on_batch_end(self, trainer):
        if hasattr(bar._bar, "container"):
            bar._bar.refresh()
            left, _, right = bar._bar.container.children
            self.shown = left.value + "|" + right.value

model = layers.Sequential(layers.Flatten(), layers.Linear(4, 3))
loader = data.DataLoader(data.ArrayDataset(np.zeros((12, 1, 2, 2), np.float32), np.arange(12) % 3), 4)
bar, watch = training.ProgressBar(), Watch()
trainer = training.Trainer(model, optim.SGD(model.parameters(), 0.1), loader, callbacks=[bar, watch])
"""
WITHOUT_WIDGETS = """
import sys, warnings
sys.modules["ipywidgets"] = None
with warnings.catch_warnings(action="error"):
"""
TABLE = r"epoch +train loss .*\n"


def rows(*epochs: str) -> str:
    return "".join(rf" *{epoch} .* s.*\n" for epoch in epochs)


def test_the_bar_is_where_somebody_looks_on(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, of the extra dev")
    pytest.importorskip("ipywidgets", reason="bars in notebooks need ipywidgets, of the extra dev")
    sources = (
        TRAINING + "history = trainer.fit(3)",
        "history = trainer.fit(2)\nprint(watch.shown)",
        WITHOUT_WIDGETS + "    history = trainer.fit(1)",
    )
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    with kernel(nbformat.v4.new_notebook(cells=cells), tmp_path) as client:
        for place, cell in enumerate(cells):
            client.kc.allow_stdin = place > 0  # as front ends with somebody before them ask for
            client.execute_cell(cell, place)
    alone, with_widgets, without = cells
    assert [output.output_type for output in alone.outputs] == ["stream"] * len(alone.outputs)
    assert re.fullmatch(TABLE + rows("1/3", "2/3", "3/3"), printed(alone)), "once, and no bar"
    place, *table = with_widgets.outputs
    assert (place.output_type, place.data) == ("display_data", {"text/plain": ""}), "no dead widget is kept"
    assert all(output.output_type == "stream" for output in table)
    shown = r"epoch\W5/5\W+100%\W+loss\W1\.\d\d\W.*"
    assert re.fullmatch(TABLE + rows("4/5", "5/5") + shown + "\n", printed(with_widgets))
    assert "\repoch 6/6" in printed(without)
    assert re.search(r"\r" + rows("6/6") + "$", printed(without))
    assert printed(without, "stderr") == ""


@pytest.mark.parametrize(
    ("parent", "alone"),
    [({"content": {"allow_stdin": False}}, True), ({"content": {"allow_stdin": True}}, False), ({"content": {}}, False), ({}, False)],
)  # fmt: skip
def test_who_does_not_say_that_nobody_is_there_is_shown_a_bar(
    monkeypatch: pytest.MonkeyPatch, parent: object, alone: bool
) -> None:
    shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda: parent))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert notebook.is_unattended() is alone


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(kernel=SimpleNamespace())])
def test_a_shell_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert (notebook.is_unattended(), notebook.place_for_widgets()) == (False, None)
