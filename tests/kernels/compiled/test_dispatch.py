"""Helpers that wait in machine code: every part is done once, whoever takes it, and nothing is left behind."""

import threading
import time
from typing import Any

import numpy as np
import pytest

from gpucnn.backend.threads import VARIABLE, parallel
from gpucnn.kernels.compiler import loop, processor
from gpucnn.kernels.elementwise import compiled as elementwise_loops
from tests.kernels.compiled.kernel_cases import ragged


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")


def launch(rng: np.random.Generator) -> None:
    """One of two kernels, on arrays and parts of drawn sizes; what comes out is exact."""
    planes, positions = (int(size) for size in rng.integers(1, 40, 2))
    values = rng.integers(-9, 10, (planes, positions)).astype(np.float32)
    parts = [*ragged(rng, planes), slice(planes, planes)]
    if rng.random() < 0.5:
        sums = np.full(planes, np.nan, np.float32)
        loop.run(elementwise_loops.plane_sums_loop(positions, False), planes, [values, sums], parts)
        np.testing.assert_array_equal(sums, values.sum(axis=1))
    else:
        output, flat = np.full(values.size, np.nan, np.float32), values.reshape(-1)
        loop.run(
            elementwise_loops.formula_loop("relu"), flat.size, [flat, output], [*ragged(rng, flat.size), slice(0, 0)]
        )
        np.testing.assert_array_equal(output, flat.clip(0))


def test_launches_of_changing_kernels_with_other_work_between() -> None:
    rng, done = np.random.default_rng(0), []
    for number in range(400):
        launch(rng)
        if number % 50 == 0:
            parallel(done.append, 3)  # which calls the helpers back
        if number % 100 == 0:
            time.sleep(0.02)  # in which they fall asleep
    assert sorted(done) == sorted([0, 1, 2] * 8)


def test_launches_of_several_threads_at_once() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(100):
                launch(rng)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_helper_of_an_earlier_loop_has_enough_scratch_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still serve when the next loop has fewer parts, but needs more memory."""
    dispatcher = pytest.importorskip("gpucnn.kernels.compiler.dispatch").dispatcher()
    monkeypatch.setenv(VARIABLE, "5")

    def fill(b: Any) -> None:
        scratch, output = b.pointer("scratch"), b.pointer("output")
        b.each(0, floats, 1, lambda i: scratch.store(b.splat(1.0, 1), i))
        b.each(b.index("first"), b.index("last"), 1, lambda i: output.store(scratch.load(floats - 1, 1), i))

    most = max(scratch.size for scratch in dispatcher._scratch)
    for floats, parts in ((1, 5), (most + 1000, 2)):
        code = loop.Loop(
            "fill_scratch", (floats,), (loop.Argument("output", (loop.EACH,), written=True),), fill, floats
        )
        output = np.zeros(5, np.float32)
        loop.run(code, 5, [output], [slice(part, part + 1) for part in range(parts - 1)] + [slice(parts - 1, 5)])
        assert (output == 1).all()
    assert all(scratch.size >= most + 1000 for scratch in dispatcher._scratch[:5])


def test_ctrl_c_comes_out_when_all_parts_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch = pytest.importorskip("gpucnn.kernels.compiler.dispatch", exc_type=ImportError)
    dispatcher = dispatch.dispatcher()
    lead, calls = dispatcher._lead, 0

    def slow_lead(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        return int(lead(*arguments)) if calls > 1 else 0  # as if a helper had not come back yet

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatcher, "_lead", slow_lead)
    monkeypatch.setattr("gpucnn.kernels.compiler.dispatch.time.sleep", interrupted)
    values, output = np.ones(64, np.float32), np.zeros(64, np.float32)
    with pytest.raises(KeyboardInterrupt):
        loop.run(elementwise_loops.formula_loop("relu"), 64, [values, output], [slice(0, 20), slice(20, 64)])
    np.testing.assert_array_equal(output, values)
    monkeypatch.undo()
    launch(np.random.default_rng(1))


@pytest.mark.parametrize(
    ("triple", "pause"),
    [
        ("x86_64-unknown-linux-gnu", "llvm.x86.sse2.pause"),
        ("aarch64-unknown-linux-gnu", "llvm.aarch64.isb"),
        ("arm64-apple-darwin23.6.0", "llvm.aarch64.isb"),
        ("riscv64-unknown-linux-gnu", ""),
    ],
)
def test_threads_that_wait_tell_their_core(triple: str, pause: str) -> None:
    dispatch = pytest.importorskip("gpucnn.kernels.compiler.dispatch")
    writer = dispatch._Writer
    machine = processor.processor()._replace(triple=triple)
    for module in (writer(name, machine).write() for name in dispatch.FUNCTIONS):
        assert [name for name in module.globals if name.startswith("llvm.")] == ([pause] if pause else [])
