// Fibers: stacks to switch between, so that a thread can wait at a barrier while others run.
//
// ucontext starts a fiber; _setjmp and _longjmp switch, in a tenth of the time, as they make no system call.
#pragma once
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#include "launch.h"

namespace emulator {

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t GUARD_BYTES = 64 << 10;  // a multiple of every page size; a stack that overflows ends in it

struct Fiber {
    jmp_buf registers;
    ucontext_t start;
    char* stack;
    bool started;
};

static std::vector<Fiber*> all_fibers, idle_fibers;
static jmp_buf scheduler_registers;
static Fiber* running_fiber;

static Fiber* take_fiber() {
    if (idle_fibers.empty()) {
        Fiber* fiber = new Fiber();
        fiber->stack = (char*)mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (fiber->stack == MAP_FAILED) {
            delete fiber;
            return nullptr;
        }
        mprotect(fiber->stack, GUARD_BYTES, PROT_NONE);
        all_fibers.push_back(fiber);
        return fiber;
    }
    Fiber* fiber = idle_fibers.back();
    idle_fibers.pop_back();
    return fiber;
}

// Forgets what every fiber was doing. Kernels own nothing, so their stacks may be abandoned.
static void abandon_fibers() {
    for (Fiber* fiber : all_fibers) fiber->started = false;
    idle_fibers = all_fibers;
}

// Jumps must not be inlined into functions with local variables in registers.
__attribute__((noinline)) static void switch_to_scheduler() {
    if (!_setjmp(running_fiber->registers)) _longjmp(scheduler_registers, 1);
}

__attribute__((noinline)) static void switch_to_fiber(Fiber* fiber, void (*start)()) {
    running_fiber = fiber;
    if (_setjmp(scheduler_registers)) return;
    if (fiber->started) _longjmp(fiber->registers, 1);
    fiber->started = true;
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = fiber->stack;
    fiber->start.uc_stack.ss_size = GUARD_BYTES + STACK_BYTES;
    fiber->start.uc_link = nullptr;
    makecontext(&fiber->start, start, 0);
    setcontext(&fiber->start);
}

}  // namespace emulator
