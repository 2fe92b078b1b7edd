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
"""

import ctypes
import functools
import os
import time
from array import array
from typing import Any

import numpy as np
from llvmlite import ir

from gpucnn.backend.threads import call_back_helpers, pool, thread_count
from gpucnn.kernels.compiler import PARAMETERS
from gpucnn.kernels.compiler.machine_code import compiled
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.compiler.values import BIT, INT32, INT64

LINE = 16
"""Integers from one shared place to the next: two threads that write into one line of the cache slow each other down."""

OPEN, NEXT, DONE, ACTIVE, LEAVE, FUNCTION, ARGUMENTS, PARTS, COUNT, SCRATCH = (LINE * place for place in range(10))

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
        self._serve, self._lead = _functions()
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
            for thread in range(len(helpers) + 1):
                if self._scratch[thread].size < scratch:
                    self._provide(thread, scratch)
            shared[FUNCTION], shared[ARGUMENTS] = function, arguments.buffer_info()[0]
            shared[PARTS], shared[COUNT] = bounds.buffer_info()[0], count
            shared[NEXT] = shared[DONE] = shared[LEAVE] = 0
            for thread, helper in enumerate(helpers, 1):
                if not self._serving[thread]:
                    self._serving[thread] = True
                    helper.start(functools.partial(self._serve_as, thread))
            try:
                while not self._lead(self._place, WAITING_SPINS):
                    time.sleep(0)
            except BaseException:  # Ctrl-C: a helper may still be at work on the caller's arrays
                while not self._lead(self._place, WAITING_SPINS):
                    pass
                raise
            return True

    def leave(self) -> None:
        """Send helpers that serve back to Python, where somebody has other work for them."""
        self._shared[LEAVE] = 1

    def _serve_as(self, thread: int) -> None:
        self._serve(self._place, thread, SERVING_SPINS)
        self._serving[thread] = False

    def _provide(self, thread: int, floats: int) -> None:
        self._scratch[thread] = np.zeros(floats, np.float32)
        self._shared[SCRATCH + thread] = self._scratch[thread].ctypes.data


@functools.cache
def _functions() -> tuple[Any, Any]:
    """(serve, lead): serve(shared, thread, spins), and lead(shared, spins), which tells whether all parts are done."""
    serve = compiled("serve", (), lambda machine: _Writer("serve", machine).serve())
    lead = compiled("lead", (), lambda machine: _Writer("lead", machine).lead())
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(word, word, word, word)(serve), ctypes.CFUNCTYPE(word, word, word)(lead)


class _Writer:
    """Writes one of the two functions."""

    def __init__(self, name: str, machine: Processor) -> None:
        parameters = {"serve": ("shared", "thread", "spins"), "lead": ("shared", "spins")}[name]
        self.module, self.machine = ir.Module(name), machine
        function = ir.Function(self.module, ir.FunctionType(INT64, [INT64] * len(parameters)), name)
        self.arguments = dict(zip(parameters, function.args, strict=True))
        self.b = ir.IRBuilder(function.append_basic_block("entry"))

    def serve(self) -> ir.Module:
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
        return self.module

    def lead(self) -> ir.Module:
        b = self.b
        self.set(OPEN, 1)
        self.take_parts(INT64(0))
        done = self.wait_until(lambda: b.icmp_signed("==", self.get(DONE), self.read(COUNT)))
        close, end = b.append_basic_block("close"), b.append_basic_block("end")
        b.cbranch(done, close, end)
        b.position_at_end(end)
        b.ret(INT64(0))
        b.position_at_end(close)
        self.set(OPEN, 0)
        gone = self.wait_until(lambda: b.icmp_signed("==", self.get(ACTIVE), INT64(0)))
        b.ret(b.zext(gone, INT64))
        return self.module

    def take_parts(self, thread: ir.Value) -> None:
        """Take parts, and call the function for each, until none is left."""
        b = self.b
        take, call, end = (b.append_basic_block(name) for name in ("take", "call", "no_more"))
        b.branch(take)
        b.position_at_end(take)
        part = self.add(NEXT, 1)
        b.cbranch(b.icmp_signed("<", part, self.read(COUNT)), call, end)
        b.position_at_end(call)
        bounds = b.inttoptr(self.read(PARTS), ir.PointerType())
        first, last = (
            b.load(b.gep(bounds, [b.add(b.mul(part, INT64(2)), INT64(side))], source_etype=INT64), typ=INT64)
            for side in (0, 1)
        )
        scratch = b.load(b.gep(self.place(SCRATCH), [thread], source_etype=INT64), typ=INT64)
        loop = b.inttoptr(self.read(FUNCTION), ir.FunctionType(ir.VoidType(), [INT64] * len(PARAMETERS)).as_pointer())
        b.call(loop, [first, last, part, self.read(ARGUMENTS), scratch])
        self.add(DONE, 1)
        b.branch(take)
        b.position_at_end(end)

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
