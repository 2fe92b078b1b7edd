// Which threads have accessed each element, and whether anything orders them.
//
// Two accesses of which one writes are ordered if one thread made both, or if both were made in one block with a
// __syncthreads() in between, or in one warp with a __syncwarp() in between. Nothing orders two blocks. Two atomics
// need no order. A copy by cp.async is ordered before nothing, not even for its own thread, until that has waited for it:
// then it is a write of that moment. The verdict depends neither on the order in which threads happen to run nor on the
// values.
#pragma once
#include <algorithm>
#include <vector>

#include "memory_map.h"

namespace emulator {

enum AccessKind : uint16_t { NONE, READ, WRITE, ATOMIC, COPY };
static const char* const VERBS[] = {"", "read", "write", "atomic", "cp.async"};

struct Access {
    uint32_t code;  // offset of the instruction in the kernel's library
    uint32_t block;
    uint32_t epoch;
    uint16_t thread : 12, kind : 4;
    uint16_t warp_epoch;
};
static_assert(MAX_THREADS < 1 << 12, "a thread's number must fit");

// What is known of one element. Two accesses are kept of each kind, if possible of two warps or blocks: then whoever
// comes next, at least one of them is someone else's.
struct Cell {
    uint32_t generation;
    Access writes[2], reads[2];
};

// The cells of one region. Those of an earlier generation (launch, or block for shared memory) count as empty.
struct Shadow {
    size_t element_bytes, count;
    std::vector<Cell> cells;  // `count` of them are in use
};

static std::vector<Shadow> shadows;  // of the regions, in their order
static uint32_t launch_generation, block_generation, last_generation;

static void start_shadows() {
    launch_generation = ++last_generation;
    if (shadows.size() < regions.size()) shadows.resize(regions.size());
    for (size_t i = 0; i < regions.size(); ++i) {
        shadows[i].element_bytes = regions[i].element_bytes;
        shadows[i].count = regions[i].bytes / regions[i].element_bytes + 1;
        if (shadows[i].cells.size() < shadows[i].count) shadows[i].cells.resize(shadows[i].count);
    }
}

// Makes the elements smaller, each with its whole history. Nothing tells what a shared array holds: its elements are
// taken to have four bytes until a smaller access shows otherwise.
static void split_elements(Shadow& shadow, size_t element_bytes) {
    const size_t factor = shadow.element_bytes / element_bytes;
    shadow.count *= factor;
    if (shadow.cells.size() < shadow.count) shadow.cells.resize(shadow.count);
    for (size_t i = shadow.count; i-- > 0;) shadow.cells[i] = shadow.cells[i / factor];
    shadow.element_bytes = element_bytes;
}

static bool ordered(const Access& before, const Access& now) {
    if (before.block != now.block || before.kind == COPY) return false;
    if (before.thread == now.thread || before.epoch != now.epoch) return true;
    // Counting is exact where whole warps synchronise. With partial masks, lanes that have passed different numbers of
    // __syncwarp pass for ordered, so that a race may be missed but none is invented.
    return before.thread / WARP_SIZE == now.thread / WARP_SIZE && before.warp_epoch != now.warp_epoch;
}

static bool same_group(const Access& a, const Access& b) {
    return a.block == b.block && a.thread / WARP_SIZE == b.thread / WARP_SIZE;
}

static void remember(Access (&kept)[2], const Access& now) {
    const auto same_thread = [&](const Access& a) { return a.block == now.block && a.thread == now.thread; };
    for (Access& access : kept)
        if (access.kind != NONE && same_thread(access)) {
            access = now;
            return;
        }
    for (Access& access : kept)
        if (access.kind == NONE || ordered(access, now)) {
            access = now;
            return;
        }
    if (same_group(kept[0], kept[1]) && !same_group(kept[0], now)) kept[1] = now;
}

// The access that `now` races with, or null; then `now` is remembered.
static const Access* find_race(Cell& cell, const Access& now) {
    for (const Access& write : cell.writes)
        if (write.kind != NONE && !(write.kind == ATOMIC && now.kind == ATOMIC) && !ordered(write, now)) return &write;
    if (now.kind != READ)
        for (const Access& read : cell.reads)
            if (read.kind != NONE && !ordered(read, now)) return &read;
    if (now.kind == WRITE || now.kind == COPY) cell.writes[0] = cell.writes[1] = Access();  // all of them are ordered before this one
    remember(now.kind == READ ? cell.reads : cell.writes, now);
    return nullptr;
}

}  // namespace emulator
