"""Handing the parts of a loop to threads, in machine code: waking a thread through Python costs more than a small loop.

A helper thread *serves*: for a while after each loop it looks again and again whether the next one is there. Then it goes
back to Python and sleeps. Leader and helpers share an array of integers:

    leader                                   helper
    writes the job, opens it                 sees it open, counts itself as active, and looks again
    takes part after part  <--- NEXT --->    takes part after part
    waits until all parts are DONE
    closes the job
    waits until nobody is ACTIVE             counts itself out
    may write the next job

A helper that comes late, or never, finds no part left, and nobody waits for it.

A list of calls, which a recorded step is, goes through the same with one call from Python: the leader opens one job after
the other, and helpers stay until the list is at its end.
"""

import ctypes
import functools
import os
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from gpucnn.backend.threads import Worker, call_back_helpers, pool, thread_count
from gpucnn.kernels.compiler import PARAMETERS
from gpucnn.kernels.compiler.machine_code import compiled
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.compiler.values import BIT, INT32, INT64

LINE = 16
"""Integers from one shared place to the next: two threads that write into one line of the cache slow each other down."""

OPEN, NEXT, DONE, ACTIVE, LEAVE, LISTED, CALL, BEGUN, FUNCTION, ARGUMENTS, PARTS, COUNT, SCRATCH = (
    LINE * place for place in range(13)
)

JOB = (FUNCTION, ARGUMENTS, PARTS, COUNT)
"""What a call of a list consists of, in this order: four integers."""

SERVING_SPINS = 20_000
"""Looks of a helper for the next loop before it sleeps: some hundred microseconds. Measured by `gpucnn bench`."""

WAITING_SPINS = 1_000_000
"""Looks of the leader for the last part before it lets other threads run: the helper's core may be somebody else's."""

MOST_THREADS = 64


class Dispatcher:
    """What leader and helpers share, and the scratch memory of each."""

    def __init__(self) -> None:
        self._shared = (ctypes.c_int64 * (SCRATCH + MOST_THREADS))()
        self._place = ctypes.addressof(self._shared)
        self._scratch = [np.zeros(0, np.float32) for _ in range(MOST_THREADS)]
        self._serving = [False] * MOST_THREADS
        self._called = 0
        """The most helpers that were ever called."""
        self._serve, self._lead, self._go_through = _functions()
        call_back_helpers.append(self.leave)

    def run(self, function: int, arguments: "array[int]", bounds: "array[int]", scratch: int) -> bool:
        """Call `function` for all parts, with a table of addresses, and `scratch` floats of memory for each thread.

        `bounds` has where each part begins and where it ends. False, and nothing is done, if the pool's threads are at
        work for somebody else, or the pool has none.
        """
        count = len(bounds) // 2
        with pool(min(thread_count(), count, MOST_THREADS) - 1) as helpers:
            if not helpers:
                return False
            shared = self._shared
            shared[FUNCTION], shared[ARGUMENTS] = function, arguments.buffer_info()[0]
            shared[PARTS], shared[COUNT] = bounds.buffer_info()[0], count
            shared[NEXT] = shared[DONE] = 0
            self._call_up(helpers, scratch)
            _finish(lambda: self._lead(self._place, WAITING_SPINS))
            return True

    def go_through(self, calls: "array[int]", most_parts: int, scratch: np.ndarray) -> None:
        """Make all `calls`, each of which is a JOB, one after the other, of `most_parts` parts at most.

        `scratch` is the caller's own memory, of as many floats as any of them needs: where the pool's threads are at work
        for somebody else, or there are none, all parts are done with it by this thread.
        """
        places = calls.buffer_info()[0], len(calls) // len(JOB), scratch.ctypes.data
        with pool(min(thread_count(), most_parts, MOST_THREADS) - 1) as helpers:
            if not helpers:
                _finish(lambda: self._go_through(0, *places, WAITING_SPINS))
                return
            self._shared[CALL] = self._shared[BEGUN] = 0
            self._shared[LISTED] = 1
            try:
                self._call_up(helpers, scratch.size)
                _finish(lambda: self._go_through(self._place, *places, WAITING_SPINS))
            finally:
                self._shared[LISTED] = 0

    def _call_up(self, helpers: list[Worker], scratch: int) -> None:
        """See that all who may take parts have scratch memory, and that helpers serve.

        A helper of an earlier loop, which had more parts, may still serve, and take one of this one's.
        """
        self._shared[LEAVE] = 0
        self._called = max(self._called, len(helpers))
        for thread in range(self._called + 1):
            if self._scratch[thread].size < scratch:
                self._provide(thread, scratch)
        for thread, helper in enumerate(helpers, 1):
            if not self._serving[thread]:
                self._serving[thread] = True
                helper.start(functools.partial(self._serve_as, thread))

    def leave(self) -> None:
        """Send helpers that serve back to Python, where somebody has other work for them."""
        self._shared[LEAVE] = 1

    def _serve_as(self, thread: int) -> None:
        self._serve(self._place, thread, SERVING_SPINS)
        while self._shared[LISTED]:  # the next job of the list comes without a call from Python
            time.sleep(0)
            self._serve(self._place, thread, SERVING_SPINS)
        self._serving[thread] = False

    def _provide(self, thread: int, floats: int) -> None:
        self._scratch[thread] = np.zeros(floats, np.float32)
        self._shared[SCRATCH + thread] = self._scratch[thread].ctypes.data


def _finish(lead: Callable[[], int]) -> None:
    """Call `lead` until all is done. Ctrl-C comes out then: a helper may still be at work on the caller's arrays."""
    try:
        while not lead():
            time.sleep(0)
    except BaseException:
        while not lead():
            pass
        raise


FUNCTIONS = {
    "serve": ("shared", "thread", "spins"),
    "lead": ("shared", "spins"),
    "go_through": ("shared", "calls", "count", "scratch", "spins"),
}
"""What is compiled, and its parameters, which are all integers. The last two tell whether all is done."""


@functools.cache
def _functions() -> list[Any]:
    found = []
    for name, parameters in FUNCTIONS.items():
        address = compiled(name, (), functools.partial(_written, name))
        found.append(ctypes.CFUNCTYPE(*[ctypes.c_int64] * (1 + len(parameters)))(address))
    return found


def _written(name: str, machine: Processor) -> ir.Module:
    return _Writer(name, machine).write()


class _Writer:
    """Writes one of FUNCTIONS."""

    def __init__(self, name: str, machine: Processor) -> None:
        parameters = FUNCTIONS[name]
        self.name, self.module, self.machine = name, ir.Module(name), machine
        function = ir.Function(self.module, ir.FunctionType(INT64, [INT64] * len(parameters)), name)
        self.arguments = dict(zip(parameters, function.args, strict=True))
        self.b = ir.IRBuilder(function.append_basic_block("entry"))

    def write(self) -> ir.Module:
        """The module, with the function complete."""
        {"serve": self.serve, "lead": self.lead, "go_through": self.go_through}[self.name]()
        return self.module

    def serve(self) -> None:
        b = self.b
        names = ("look", "check", "enter", "work", "left", "idle", "end")
        look, check, enter, work, left, idle, end = (b.append_basic_block(name) for name in names)
        before = b.block
        b.branch(look)
        b.position_at_end(look)
        spins = b.phi(INT64)
        spins.add_incoming(self.arguments["spins"], before)
        leaving = b.icmp_signed("!=", self.get(LEAVE), INT64(0))
        b.cbranch(b.or_(leaving, b.icmp_signed("<=", spins, INT64(0))), end, check)
        b.position_at_end(check)
        b.cbranch(self.is_open(), enter, idle)
        b.position_at_end(enter)
        self.add(ACTIVE, 1)
        b.cbranch(self.is_open(), work, left)
        b.position_at_end(work)
        self.take_parts(self.arguments["thread"])
        b.branch(left)
        b.position_at_end(left)
        self.add(ACTIVE, -1)
        spins.add_incoming(self.arguments["spins"], left)
        b.branch(look)
        b.position_at_end(idle)
        self.pause()
        spins.add_incoming(b.sub(spins, INT64(1)), idle)
        b.branch(look)
        b.position_at_end(end)
        b.ret(INT64(0))

    def lead(self) -> None:
        b = self.b
        self.set(OPEN, 1)
        self.take_parts(INT64(0))
        b.ret(b.zext(self.closed(), INT64))

    def go_through(self) -> None:
        """Where it gave up waiting it goes on when it is called again: CALL is the number of the job, BEGUN whether it is open."""
        b = self.b
        names = ("alone", "led", "following", "look", "direct", "publish", "wait", "done", "late", "end")
        alone, led, following, look, direct, publish, wait, done, late, end = map(b.append_basic_block, names)
        count = self.arguments["count"]
        b.cbranch(b.icmp_signed("==", self.arguments["shared"], INT64(0)), alone, led)
        b.position_at_end(alone)
        self.repeat(count, self.do_parts)
        b.branch(end)
        b.position_at_end(led)
        b.cbranch(b.icmp_signed("!=", self.read(BEGUN), INT64(0)), wait, following)
        b.position_at_end(following)
        call = self.read(CALL)
        b.cbranch(b.icmp_signed("<", call, count), look, end)
        b.position_at_end(look)
        b.cbranch(b.icmp_signed("==", self.entry(call, COUNT), INT64(1)), direct, publish)
        b.position_at_end(direct)
        self.do_parts(call)
        b.branch(done)
        b.position_at_end(publish)
        for field in JOB:
            b.store(self.entry(call, field), self.place(field))
        for field, number in ((NEXT, 0), (DONE, 0), (BEGUN, 1)):
            b.store(INT64(number), self.place(field))
        self.set(OPEN, 1)
        self.take_parts(INT64(0))
        b.branch(wait)
        b.position_at_end(wait)
        b.cbranch(self.closed(), done, late)
        b.position_at_end(done)
        b.store(INT64(0), self.place(BEGUN))
        b.store(b.add(self.read(CALL), INT64(1)), self.place(CALL))
        b.branch(following)
        b.position_at_end(late)
        b.ret(INT64(0))
        b.position_at_end(end)
        b.ret(INT64(1))

    def closed(self) -> ir.Value:
        """Wait until all parts of the open job are done, close it and wait until no helper looks at it; whether that came."""
        b = self.b
        done = self.wait_until(lambda: b.icmp_signed("==", self.get(DONE), self.read(COUNT)))
        before, close, end = b.block, b.append_basic_block("close"), b.append_basic_block("closed")
        b.cbranch(done, close, end)
        b.position_at_end(close)
        self.set(OPEN, 0)
        gone = self.wait_until(lambda: b.icmp_signed("==", self.get(ACTIVE), INT64(0)))
        after = b.block
        b.branch(end)
        b.position_at_end(end)
        result = b.phi(BIT)
        result.add_incoming(BIT(0), before)
        result.add_incoming(gone, after)
        return result

    def do_parts(self, call: ir.Value) -> None:
        """All parts of a call of the list, by this thread, with its own scratch memory."""

        def one(part: ir.Value) -> None:
            job = {field: self.entry(call, field) for field in JOB}
            self.call_loop(part, job, self.arguments["scratch"])

        self.repeat(self.entry(call, COUNT), one)

    def entry(self, call: ir.Value, field: int) -> ir.Value:
        """What the list has for a field of a call."""
        calls = self.b.inttoptr(self.arguments["calls"], ir.PointerType())
        place = self.b.add(self.b.mul(call, INT64(len(JOB))), INT64(JOB.index(field)))
        return self.b.load(self.b.gep(calls, [place], source_etype=INT64), typ=INT64)

    def repeat(self, count: ir.Value, body: Callable[[ir.Value], None]) -> None:
        """body(i) for all i below `count`."""
        b = self.b
        before, look, turn, end = b.block, *map(b.append_basic_block, ("repeat", "turn", "repeated"))
        b.branch(look)
        b.position_at_end(look)
        number = b.phi(INT64)
        number.add_incoming(INT64(0), before)
        b.cbranch(b.icmp_signed("<", number, count), turn, end)
        b.position_at_end(turn)
        body(number)
        number.add_incoming(b.add(number, INT64(1)), b.block)
        b.branch(look)
        b.position_at_end(end)

    def take_parts(self, thread: ir.Value) -> None:
        """Take parts, and call the function for each, until none is left."""
        b = self.b
        take, call, end = (b.append_basic_block(name) for name in ("take", "call", "no_more"))
        b.branch(take)
        b.position_at_end(take)
        part = self.add(NEXT, 1)
        b.cbranch(b.icmp_signed("<", part, self.read(COUNT)), call, end)
        b.position_at_end(call)
        scratch = b.load(b.gep(self.place(SCRATCH), [thread], source_etype=INT64), typ=INT64)
        self.call_loop(part, {field: self.read(field) for field in JOB}, scratch)
        self.add(DONE, 1)
        b.branch(take)
        b.position_at_end(end)

    def call_loop(self, part: ir.Value, job: dict[int, ir.Value], scratch: ir.Value) -> None:
        b = self.b
        bounds = b.inttoptr(job[PARTS], ir.PointerType())
        first, last = (
            b.load(b.gep(bounds, [b.add(b.mul(part, INT64(2)), INT64(side))], source_etype=INT64), typ=INT64)
            for side in (0, 1)
        )
        loop = b.inttoptr(job[FUNCTION], ir.FunctionType(ir.VoidType(), [INT64] * len(PARAMETERS)).as_pointer())
        b.call(loop, [first, last, part, job[ARGUMENTS], scratch])

    def wait_until(self, condition: Any) -> ir.Value:
        """Look for `condition`, "spins" times at most; whether it came."""
        b = self.b
        before, look, again, end = b.block, *(b.append_basic_block(name) for name in ("wait", "again", "waited"))
        b.branch(look)
        b.position_at_end(look)
        spins = b.phi(INT64)
        spins.add_incoming(self.arguments["spins"], before)
        came = condition()
        b.cbranch(b.or_(came, b.icmp_signed("<=", spins, INT64(0))), end, again)
        b.position_at_end(again)
        self.pause()
        spins.add_incoming(b.sub(spins, INT64(1)), again)
        b.branch(look)
        b.position_at_end(end)
        result = b.phi(BIT)
        result.add_incoming(came, look)
        return result

    def is_open(self) -> ir.Value:
        """Whether there is a job, with parts left to take."""
        b = self.b
        left = b.icmp_signed("<", self.get(NEXT), self.read(COUNT))
        return b.and_(b.icmp_signed("!=", self.get(OPEN), INT64(0)), left)

    def place(self, field: int) -> ir.Value:
        shared = self.b.inttoptr(self.arguments["shared"], ir.PointerType())
        return self.b.gep(shared, [INT64(field)], source_etype=INT64)

    def read(self, field: int) -> ir.Value:
        """A field that nobody writes while a job is open."""
        return self.b.load(self.place(field), typ=INT64)

    def get(self, field: int) -> ir.Value:
        return self.b.load_atomic(self.place(field), "seq_cst", 8, typ=INT64)

    def set(self, field: int, number: int) -> None:
        self.b.atomic_rmw("xchg", self.place(field), INT64(number), "seq_cst")

    def add(self, field: int, number: int) -> ir.Value:
        """Add to a field at once with looking at it; what it was before."""
        return self.b.atomic_rmw("add", self.place(field), INT64(number), "seq_cst")

    def pause(self) -> None:
        """Tell the core that this is waiting. Cores of ARM pass over `yield`, but wait for an `isb`, as Rust's spin loops do."""
        operands = []
        if self.machine.triple.startswith(("x86_64", "i686")):
            name = "llvm.x86.sse2.pause"
        elif self.machine.triple.startswith(("aarch64", "arm64")):
            name, operands = "llvm.aarch64.isb", [INT32(15)]  # of the full system
        else:
            return
        pause = self.module.globals.get(name)
        if pause is None:
            kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
            pause = ir.Function(self.module, kind, name)
        self.b.call(pause, operands)


dispatcher = functools.cache(Dispatcher)
"""The one of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=dispatcher.cache_clear)  # a child has none of the threads
