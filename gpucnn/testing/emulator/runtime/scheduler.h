// Runs the threads of a block in turn, each until it returns or waits.
#pragma once
#include <string.h>

#include <algorithm>

#include "copies.h"
#include "fibers.h"

namespace emulator {

static void start_block_checks();  // checks.h, or nothing

static std::vector<int> turns;  // the threads, in the order in which they run
static int turn;
static unsigned random_state;

// Marsaglia's xorshift: the same order on every machine.
static unsigned random_below(unsigned limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % limit;
}

template <class Item>
static void shuffle(std::vector<Item>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random_below(i)]);
}

static void continue_as(Thread* thread) {
    current = thread;
    thread->fiber = running_fiber;
    threadIdx = thread->index;
}

// What a fiber does: a thread, and the next one too while that has not started. A kernel without barriers therefore
// runs on a single fiber with no switch at all.
static void run_threads() {
    for (;;) {
        continue_as(current);
        launch->kernel->invoke(launch->kernel->function, launch->arguments);
        check_nothing_under_way();
        current->state = State::returned;
        if (turn + 1 < thread_count && threads[turns[turn + 1]].state == State::not_started) {
            current = &threads[turns[++turn]];
            continue;
        }
        idle_fibers.push_back(running_fiber);
        switch_to_scheduler();
    }
}

static void wait_as(State state, Place place) {
    Thread* thread = current;
    thread->state = state;
    thread->place = place;
    switch_to_scheduler();
    continue_as(thread);
}

// Ends the launch from within a thread.
[[noreturn]] static void stop() { _longjmp(scheduler_registers, 1); }

void fail(const char* what, Place place) {
    report(text("%s: %s %s", what, name_of(*current).c_str(), at(place).c_str()));
    stop();
}

void wait_at_barrier(Place place) { wait_as(State::at_barrier, place); }

static bool in_mask(unsigned mask, int lane) { return mask >> lane & 1; }

static bool same_place(Place a, Place b) {
    return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file));
}

struct Brought {
    void (*act)(void* const* lanes);
    void* own;
};

// All lanes of the mask have arrived: gives each its result and lets it go on.
static void complete_warp_operation(Thread* warp, unsigned present, WarpOperation operation) {
    if (operation == WarpOperation::together) {
        const auto act = ((Brought*)warp->input)->act;
        void* lanes[WARP_SIZE];
        for (int lane = 0; lane < WARP_SIZE; ++lane) {
            const Brought* brought = (Brought*)warp[lane].input;
            if (brought->act != act) fail("the lanes of a warp are at different instructions", warp->place);
            lanes[lane] = brought->own;
        }
        act(lanes);
    }
    unsigned votes = 0;
    for (int lane = 0; lane < WARP_SIZE; ++lane)
        if (in_mask(present, lane) && *(unsigned*)warp[lane].input) votes |= 1u << lane;
    for (int lane = 0; lane < WARP_SIZE; ++lane) {
        if (!in_mask(present, lane)) continue;
        Thread& thread = warp[lane];
        if (operation == WarpOperation::shuffle && in_mask(present, thread.source))
            memcpy(thread.output, warp[thread.source].input, thread.size);
        else if (operation == WarpOperation::shuffle)
            thread.source = -1;  // undefined on a GPU
        else if (operation == WarpOperation::ballot)
            memcpy(thread.output, &votes, sizeof votes);
        else if (operation == WarpOperation::synchronize)
            ++thread.warp_epoch;  // only __syncwarp orders memory accesses; a shuffle does not
        thread.state = State::ready;
    }
}

void warp_operation(WarpOperation operation, unsigned mask, const void* input, void* output, int size, int source,
                    Place place) {
    Thread* thread = current;
    const int lane = thread->linear % WARP_SIZE;
    Thread* warp = thread - lane;
    if (!in_mask(mask, lane)) fail("the calling lane is not in its own mask", place);
    thread->operation = operation;
    thread->mask = mask;
    thread->source = source;
    thread->size = size;
    thread->place = place;
    thread->state = State::in_warp_operation;
    memset(thread->input, 0, sizeof thread->input);
    if (size) memcpy(thread->input, input, size);

    unsigned expected = 0, arrived = 0;
    for (int other = 0; other < WARP_SIZE && warp + other < threads + thread_count; ++other) {
        const Thread& t = warp[other];
        if (!in_mask(mask, other) || t.state == State::returned) continue;
        expected |= 1u << other;
        if (t.state == State::in_warp_operation && t.operation == operation && t.mask == mask &&
            same_place(t.place, place))
            arrived |= 1u << other;
    }
    if (arrived == expected)
        complete_warp_operation(warp, expected, operation);
    else
        wait_as(State::in_warp_operation, place);
    thread->state = State::ready;
    if (operation == WarpOperation::shuffle && thread->source < 0)
        fail("shuffle from a lane that does not exist, has returned or is not in the mask", place);
    if (output) memcpy(output, thread->output, size);
}

void together(const char* instruction, void (*act)(void* const* lanes), void* own, Place place) {
    const int first = current->linear / WARP_SIZE * WARP_SIZE;
    for (int lane = 0; lane < WARP_SIZE; ++lane) {
        const bool exists = first + lane < thread_count;
        if (exists && threads[first + lane].state != State::returned) continue;
        fail(text("%s needs all 32 lanes of a warp, and lane %d %s", instruction, lane,
                  exists ? "has returned" : "does not exist").c_str(), place);
    }
    const Brought brought = {act, own};
    warp_operation(WarpOperation::together, 0xffffffffu, &brought, nullptr, sizeof brought, -1, place);
}

// No thread can go on by itself. True if all wait at one barrier, else it reports why that will never be.
static bool all_at_one_barrier() {
    const Thread *waiting = nullptr, *returned = nullptr;
    int waiting_count = 0;
    for (int i = 0; i < thread_count; ++i) {
        const Thread& thread = threads[i];
        if (thread.state == State::in_warp_operation) {
            report(text("deadlock: %s waits in a warp operation %s (mask %08x) that the other lanes never reach",
                        name_of(thread).c_str(), at(thread.place).c_str(), thread.mask));
            return false;
        }
        if (thread.state == State::returned) {
            if (!returned) returned = &thread;
            continue;
        }
        if (waiting && !same_place(waiting->place, thread.place)) {
            report(text("barrier divergence: %s waits at __syncthreads() %s, %s at another %s",
                        name_of(*waiting).c_str(), at(waiting->place).c_str(), name_of(thread).c_str(),
                        at(thread.place).c_str()));
            return false;
        }
        if (!waiting) waiting = &thread;
        ++waiting_count;
    }
    if (waiting && returned)
        report(text("barrier divergence: %d threads wait at __syncthreads() %s, %d have returned (the first: %s)",
                    waiting_count, at(waiting->place).c_str(), thread_count - waiting_count,
                    name_of(*returned).c_str()));
    return !failed();
}

static void prepare_block(uint64_t number) {
    block_number = number;
    blockIdx = block_index(number);
    epoch = 0;
    forget_copies();
    for (int i = 0; i < thread_count; ++i) {
        threads[i].linear = i;
        threads[i].index = thread_index(i);
        threads[i].state = State::not_started;
        threads[i].warp_epoch = 0;
    }
    start_block_checks();
    // Shared memory starts as garbage: all bits set is NaN as a float, -1 as an int.
    for (int i = 0; i < launch->region_count; ++i)
        if (launch->regions[i].kind == SHARED) memset(launch->regions[i].begin, 0xff, launch->regions[i].bytes);
}

// Lets every thread that can run do so once, in turn. False if there was none.
static bool run_turns() {
    if (launch->order == RANDOM) shuffle(turns);
    bool any = false;
    for (turn = 0; turn < thread_count && !failed(); ++turn) {
        Thread* thread = &threads[turns[turn]];
        if (thread->state != State::not_started && thread->state != State::ready) continue;
        any = true;
        Fiber* fiber = thread->state == State::ready ? thread->fiber : take_fiber();
        if (!fiber) {
            report("the emulator has no memory for another thread's stack");
            break;
        }
        current = thread;
        switch_to_fiber(fiber, run_threads);
    }
    return any;
}

static void run_block(uint64_t number) {
    prepare_block(number);
    for (;;) {
        while (run_turns() && !failed()) {}
        if (failed() || !all_at_one_barrier()) return;
        bool any = false;
        for (int i = 0; i < thread_count; ++i) {
            if (threads[i].state != State::at_barrier) continue;
            threads[i].state = State::ready;
            any = true;
        }
        if (!any) return;
        ++epoch;
    }
}

static void prepare_turns() {
    random_state = launch->seed * 2654435761u + 88172645u;
    if (!random_state) random_state = 1;  // the one state that xorshift never leaves
    turns.resize(thread_count);
    for (int i = 0; i < thread_count; ++i) turns[i] = launch->order == REVERSE ? thread_count - 1 - i : i;
}

static void run_blocks() {
    const uint64_t count = (uint64_t)gridDim.x * gridDim.y * gridDim.z;
    if (launch->order == RANDOM) {
        std::vector<uint64_t> blocks(count);
        for (uint64_t i = 0; i < count; ++i) blocks[i] = i;
        shuffle(blocks);
        for (uint64_t i = 0; i < count && !failed(); ++i) run_block(blocks[i]);
    } else {
        for (uint64_t i = 0; i < count && !failed(); ++i) run_block(launch->order == REVERSE ? count - 1 - i : i);
    }
}

}  // namespace emulator
