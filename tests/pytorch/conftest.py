"""The fixture `agree`; at the end of the run a table of what it compared, and a failure if something public was left out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.pytorch.agreement import LEAST, Agreement
from tests.pytorch.counterparts import EXEMPT, public_names

FOLDER = Path(__file__).parent

AGREEMENT = pytest.StashKey[Agreement]()
WHOLE = pytest.StashKey[bool]()
"""Whether every test of this folder is to run."""
SHORTAGES = pytest.StashKey[list[str]]()
"""What was compared too little, when all tests ran and passed."""


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`Agreement.check` of this run."""
    return request.config.stash.setdefault(AGREEMENT, Agreement()).check


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Arrays are small here: PyTorch's threads would mostly wait for each other."""
    pytest.importorskip("torch").set_num_threads(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    all_files = set(FOLDER.glob("test_*.py")) <= {item.path for item in session.items}
    chosen_by_name = any("::" in argument for argument in config.args)
    config.stash[WHOLE] = all_files and not chosen_by_name and config.stash.get(WHOLE, True)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if items:
        items[0].config.stash[WHOLE] = False


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    stash = session.config.stash
    if exitstatus == pytest.ExitCode.OK and stash.get(WHOLE, False) and not session.config.option.collectonly:
        stash[SHORTAGES] = stash.setdefault(AGREEMENT, Agreement()).shortages(sorted(public_names() - EXEMPT.keys()))
        if stash[SHORTAGES]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    agreement = config.stash.setdefault(AGREEMENT, Agreement())
    if agreement.configurations:
        terminalreporter.section("largest error against PyTorch, relative to the array's largest value")
        for line in agreement.table():
            terminalreporter.write_line(line)
    if missing := config.stash.get(SHORTAGES, []):
        terminalreporter.section("FAILED: compared too little", red=True)
        for line in (
            f"Of these there are fewer than {LEAST} configurations: {', '.join(missing)}.",
            "Every public function and layer is compared with PyTorch's, in float32 and float64: draw configurations",
            "of it in tests/pytorch, under its name (layers in test_layers.py), or, if PyTorch has no such thing, name",
            "it with the reason in EXEMPT of tests/pytorch/counterparts.py.",
        ):
            terminalreporter.write_line(line)
