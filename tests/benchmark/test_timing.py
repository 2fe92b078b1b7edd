"""The timer's logic on a machine that is made up: no time passes, and nothing is timed."""

from collections.abc import Callable

import pytest

from gpucnn.benchmark import timing
from gpucnn.benchmark.timing import Block, Surroundings, Timed, Timing, measure


class FakeMachine(Surroundings):
    """Time passes in calls and pauses alone; others work during the blocks of `disturbed`, by their number."""

    tick = 0.01

    def __init__(self, disturbed: Callable[[int], float] = lambda block: 0.0) -> None:
        self.clock, self.other_work, self.faults, self.blocks = 0.0, 0.0, 0, 0
        self.share = disturbed
        self.log: list[str] = []

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        self.log.append(f"sleep {seconds}")

    def others(self) -> float | None:
        return self.other_work

    def page_faults(self) -> int:
        return self.faults

    def timed(self, name: str, seconds: float, faults: int = 0) -> Timed:
        def run() -> None:
            self.clock += seconds
            self.faults += faults
            self.log.append(name)

        def stopwatch(call: Callable[[], object], calls: int) -> float:
            start = self.clock
            for _ in range(calls):
                call()
            self.log[-calls:] = [f"{calls} x {name}"]
            self.blocks += 1
            self.other_work += self.share(self.blocks) * (self.clock - start)
            return (self.clock - start) / calls

        return Timed(run, stopwatch)


def test_blocks_take_turns_and_begin_with_a_pause_and_an_untimed_call() -> None:
    machine = FakeMachine()
    rivals = {"a": machine.timed("a", 0.025), "b": machine.timed("b", 0.2)}
    measure(rivals, 1000, machine)
    warm_up = ["a", "a", "1 x a", "b", "b", "1 x b"]
    a, b = ["sleep 0.04", "a", "4 x a"], ["sleep 0.04", "b", "1 x b"]
    assert machine.log[: len(warm_up)] == warm_up
    assert machine.log[len(warm_up) :] == [*a, *b, *b, *a] * 4 + [*a, *b]


def test_times_and_page_faults_are_those_of_a_call() -> None:
    machine = FakeMachine()
    found = measure({"a": machine.timed("a", 0.01, faults=7), "b": machine.timed("b", 1e-6)}, 1000, machine)
    assert len(found["a"].blocks) == timing.ROUNDS
    assert found["a"].median == pytest.approx(0.01)
    assert found["a"].page_faults == pytest.approx(7)
    assert found["b"].median == pytest.approx(1e-6)
    assert f"{timing.MOST_CALLS} x b" in machine.log


def test_disturbed_blocks_are_made_again() -> None:
    machine = FakeMachine(lambda block: 0.5 if block % 2 else 0.0)  # of blocks that take 0.1 s each
    found = measure({"a": machine.timed("a", 0.1)}, 1000, machine)["a"]
    assert len(found.undisturbed) == timing.ROUNDS
    assert [block.disturbed for block in found.blocks] == [False, True] * 8 + [False]
    assert found.blocks[1].disturbance == pytest.approx(0.4)  # one tick is doubtful


def test_what_the_clock_cannot_tell_is_no_disturbance() -> None:
    machine = FakeMachine(lambda block: 0.15)  # 15 ms of 100, 10 of them a tick
    assert not any(block.disturbed for block in measure({"a": machine.timed("a", 0.1)}, 1000, machine)["a"].blocks)
    machine = FakeMachine(lambda block: 0.17)
    assert all(block.disturbed for block in measure({"a": machine.timed("a", 0.1)}, 1, machine)["a"].blocks)


def test_it_ends_when_the_time_is_over_and_two_blocks_are_good() -> None:
    machine = FakeMachine()
    assert len(measure({"a": machine.timed("a", 1)}, 2, machine)["a"].blocks) == 2
    machine = FakeMachine(lambda block: 1.0)
    found = measure({"a": machine.timed("a", 1)}, 4, machine)["a"]
    assert len(found.blocks) == 6  # of some 2 s each: no good one in three times the budget
    assert found.undisturbed == []


def test_a_machine_that_does_not_tell_disturbs_nothing() -> None:
    machine = FakeMachine(lambda block: 1.0)
    machine.others = lambda: None  # type: ignore[method-assign]
    assert len(measure({"a": machine.timed("a", 0.1)}, 1000, machine)["a"].undisturbed) == timing.ROUNDS


def test_medians_are_of_undisturbed_blocks_or_of_the_least_disturbed() -> None:
    blocks = [Block(9, 90, 0.5), Block(1, 10, 0), Block(2, 20, 0.06), Block(5, 50, 0.01), Block(0, 0, 0.2)]
    assert Timing(blocks).median == 2
    assert Timing(blocks).page_faults == 20
    assert Timing([blocks[0], blocks[4]]).median == 0
    assert Timing([blocks[1], blocks[3]]).median == 3


def test_the_real_machine_counts() -> None:
    machine = Surroundings()
    faults, start, others = machine.page_faults(), machine.now(), machine.others()
    touched = bytearray(1 << 24)
    machine.sleep(0.001)
    assert machine.now() - start >= 0.001
    assert machine.page_faults() >= faults
    assert others is None or others > 0
    assert len(touched) == 1 << 24
