// Copies to shared memory that a thread has started and not yet waited for.
//
// Their bytes come when the thread waits. Until then the target holds garbage, and whoever accesses it is reported: see
// COPY in race_detector.h.
#pragma once
#include <string.h>

#include <vector>

#include "launch.h"

namespace emulator {

struct Copy {
    char* target;
    const char* source;
    int bytes, given;
    unsigned group;
    void* caller;  // code address
    Place place;
};

// The copies of each thread, oldest first, and how many groups it has made of its copies so far.
static std::vector<Copy> copies[MAX_THREADS];
static unsigned groups[MAX_THREADS];

// checks.h, or nothing
static void check_start(const Copy& copy);
static void check_arrival(const Copy& copy);

static void forget_copies() {
    for (int i = 0; i < thread_count; ++i) copies[i].clear(), groups[i] = 0;
}

// What keeps a copy of thread `thread` from being there.
static const char* what_is_missing(int thread, const Copy& copy) {
    return copy.group == groups[thread] ? "no commit_copies() has put the copy into a group"
                                        : "the copy has not been waited for";
}

void start_copy(void* target, const void* source, int bytes, int given, Place place) {
    if (given < 0 || given > bytes)
        fail(text("cp.async of %d bytes cannot take %d from the source", bytes, given).c_str(), place);
    const int thread = current->linear;
    const Copy copy = {(char*)target, (const char*)source, bytes, given, groups[thread], __builtin_return_address(0), place};
    check_start(copy);
    memset(target, 0xff, bytes);
    copies[thread].push_back(copy);
}

void commit_copies() { ++groups[current->linear]; }

void wait_for_copies(unsigned newest, bool also_without_group) {
    const int thread = current->linear;
    size_t arrived = 0;
    for (const Copy& copy : copies[thread]) {
        if (!also_without_group && copy.group + newest >= groups[thread]) break;
        check_arrival(copy);
        memcpy(copy.target, copy.source, copy.given);
        memset(copy.target + copy.given, 0, copy.bytes - copy.given);
        ++arrived;
    }
    copies[thread].erase(copies[thread].begin(), copies[thread].begin() + arrived);
}

// A thread returns.
static void check_nothing_under_way() {
    const int thread = current->linear;
    if (copies[thread].empty()) return;
    const Copy& copy = copies[thread].front();
    fail(text("a thread returns while its cp.async is under way, %s", what_is_missing(thread, copy)).c_str(), copy.place);
}

}  // namespace emulator
