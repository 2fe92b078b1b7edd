"""Do the tests notice source that is wrong? Runs with --mutants alone, as it takes some minutes; `-k FILE` tries one file's.

That the text is there which a mutant changes is asked with --mutants alone, too: code may be reworded without a look here.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.backend.group_mutants import TABLE as GROUPS
from tests.backend.mutants import TABLE as GRAPHS
from tests.benchmark.mutants import TABLE as PREDICTIONS
from tests.explain.mutants import TABLE as EXPLAIN
from tests.image_classifier.mutants import TABLE as CLASSIFIER
from tests.kernels.compiled.mutants import TABLE as COMPILED_LOOPS
from tests.kernels.gemm_mutants import TABLE as PRODUCTS
from tests.kernels.mutants import TABLE as KERNELS
from tests.mutation import ROOT, Mutant, Table
from tests.plot.mutants import TABLE as FIGURES
from tests.testing.emulator.mutants import TABLE as TENSOR_CORES
from tests.testing.mutants import TABLE as STAND_IN
from tests.training.bf16_mutants import TABLE as BF16
from tests.training.mutants import TABLE as TRAINING
from tests.training.parallel_mutants import TABLE as PROCESSES

TABLES = (
    KERNELS,
    COMPILED_LOOPS,
    PRODUCTS,
    TRAINING,
    BF16,
    GRAPHS,
    GROUPS,
    PREDICTIONS,
    STAND_IN,
    TENSOR_CORES,
    EXPLAIN,
    FIGURES,
    CLASSIFIER,
    PROCESSES,
)
ROWS = [(table, file_name) for table in TABLES for file_name in table.tests_of]
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@every_table
def test_every_file_has_mutants_and_tests(table: Table) -> None:
    counts = Counter(mutant.file_name for mutant in table.mutants)
    assert set(counts) == set(table.tests_of)
    assert min(counts.values()) >= table.least
    for tests in table.tests_of.values():
        assert all((ROOT / test.partition("::")[0]).exists() for test in tests)


@pytest.fixture
def mutants_wanted(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--mutants"):
        pytest.skip("give --mutants, or run nox -s mutants")


@every_table
def test_what_mutants_change_is_there(table: Table) -> None:
    counts = {mutant: (ROOT / table.place(mutant.file_name)).read_text().count(mutant.old) for mutant in table.mutants}
    absent = [f"{mutant}: there {counts[mutant]} times" for mutant in table.mutants if counts[mutant] != mutant.times]
    assert absent == [], "\n".join(absent)


@pytest.fixture(scope="session")
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, Mutant], Future[str]]]:
    """What tests say of each mutant, and of each unchanged file, by the table's name; asked for all chosen rows at once."""
    folder = tmp_path_factory.mktemp("mutants")
    found: dict[tuple[str, Mutant], Future[str]] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.originalname == "test_every_mutant_is_noticed":
                table, file_name = item.callspec.params["table"], item.callspec.params["file_name"]
                mutants = tried(table, file_name, request.config)
                for mutant in (Mutant(file_name, "", ""), *mutants) if mutants else ():
                    copy, cache = folder / str(len(found)), folder / "emulator"
                    found[table.name, mutant] = pool.submit(table.what_tests_say, mutant, copy, cache)
        yield found
        pool.shutdown(cancel_futures=True)


def tried(table: Table, file_name: str, config: pytest.Config) -> list[Mutant]:
    """The mutants of a file that are tried, and none of a file that is left out."""
    mutants = table.of(file_name)
    if config.getoption("--every-mutant"):
        return mutants
    return mutants[:: table.sample] if list(table.tests_of).index(file_name) % table.sample_files == 0 else []


@pytest.mark.parametrize(("table", "file_name"), ROWS, ids=[f"{table.name}-{file_name}" for table, file_name in ROWS])
@pytest.mark.usefixtures("mutants_wanted")
def test_every_mutant_is_noticed(table: Table, file_name: str, request: pytest.FixtureRequest) -> None:
    answers: dict[tuple[str, Mutant], Future[str]] = request.getfixturevalue("answers")  # once they are wanted
    mutants = tried(table, file_name, request.config)
    if not mutants:
        pytest.skip("give --every-mutant, or run nox -s mutants")
    assert answers[table.name, Mutant(file_name, "", "")].result() == ""
    said = {mutant: answers[table.name, mutant].result() for mutant in mutants}
    survivors = [str(mutant) for mutant in mutants if not (said[mutant] or mutant.equivalent)]
    wrong = [
        f"{mutant}: said to be equivalent, but: {said[mutant]}"
        for mutant in mutants
        if mutant.equivalent and said[mutant]
    ]
    equivalent = [mutant for mutant in mutants if mutant.equivalent]
    tally[table.name].update(tried=len(mutants), equivalent=len(equivalent), survivors=len(survivors))
    reasons[table.name] += [f"  equivalent: {mutant}: {mutant.equivalent}" for mutant in equivalent]
    assert [*survivors, *wrong] == [], "\n".join(["survivors:", *survivors, *wrong])


tally: dict[str, Counter[str]] = {table.name: Counter() for table in TABLES}
reasons: dict[str, list[str]] = {table.name: [] for table in TABLES}


@pytest.fixture(scope="session", autouse=True)
def _summary(report: Callable[[str], None]) -> Iterator[None]:
    """A line for each table at the end of the run."""
    yield
    for table in TABLES:
        counts = tally[table.name]
        if counts["tried"]:
            killed = counts["tried"] - counts["equivalent"] - counts["survivors"]
            report(
                f"mutants of {table.name}: {killed} of {counts['tried']} killed, {counts['equivalent']} shown to be equivalent"
            )
            for line in reasons[table.name]:
                report(line)
