// The checks of mode "check".
//
// Kernels are compiled with -fsanitize=thread,undefined but linked to the functions below instead of the sanitizers'
// own libraries: the compiler has each access call __tsan_read4 and its like, each operation that may be undefined
// __ubsan_handle_*. So every access is judged before it happens, and the process lives on.
#pragma once
#include "race_detector.h"
#include "scheduler.h"

namespace emulator {

static bool checking;  // a kernel runs: initialisers of libraries call the hooks too

static uint32_t code_offset(const void* code) { return uint32_t((const char*)code - kernel_image.begin); }

static std::string at(uint32_t code) { return text("@{%x}", code); }

// "read of 4 bytes @[im2col.cu:22] at byte 5400 of columns float32[2, 27, 25] (5400 bytes)"
static std::string describe(AccessKind kind, unsigned size, const void* code, const char* address,
                            const Region* region) {
    const std::string access = text("%s of %u bytes %s", VERBS[kind], size, at(code_offset(code)).c_str());
    if ((uintptr_t)address < 4096) return access + " through a null pointer";
    if (!region) return access + ", and the kernel has no arrays";
    return access + text(" at byte %td of %s (%zu bytes)", address - region->begin, region->name, region->bytes);
}

[[noreturn]] static void fail_access(const char* what, const std::string& access) {
    report(text("%s: %s: %s", what, name_of(*current).c_str(), access.c_str()));
    stop();
}

// What would have ordered two accesses that race.
static const char* what_orders(const char* address, unsigned size, const Access& now, const Access& before) {
    if (before.kind == COPY)
        for (const Copy& copy : copies[before.thread])
            if (address < copy.target + copy.bytes && copy.target < address + size)
                return what_is_missing(before.thread, copy);
    return now.block == before.block ? "no barrier between them" : "different blocks";
}

[[noreturn]] static void fail_race(const Region& region, size_t byte, unsigned size, const Access& now,
                                   const Access& before) {
    report(text("race on byte %zu of %s: %s %s %s; %s %s %s; %s", byte, region.name,
                name_of(now.block, now.thread).c_str(), VERBS[now.kind], at(now.code).c_str(),
                name_of(before.block, before.thread).c_str(), VERBS[before.kind], at(before.code).c_str(),
                what_orders(region.begin + byte, size, now, before)));
    stop();
}

static bool on_own_stack(const char* address) {
    const char* stack = running_fiber->stack;
    return address >= stack && address < stack + GUARD_BYTES + STACK_BYTES;
}

// Outside all regions a thread has its stack, and may read tables and built-in variables of the two libraries.
static void check_outside(const char* address, unsigned size, AccessKind kind, const void* code) {
    if (kind == READ && (kernel_image.contains(address) || runtime_image.contains(address))) return;
    fail_access("out of bounds", describe(kind, size, code, address, nearest_region(address)));
}

static void check_element(const Region& region, Cell& cell, size_t byte, unsigned size, const Access& now,
                          const void* code) {
    const uint32_t generation = region.kind == SHARED ? block_generation : launch_generation;
    if (cell.generation != generation) {
        if (region.kind == SHARED && (now.kind == READ || now.kind == ATOMIC))
            fail_access("uninitialised shared memory",
                        describe((AccessKind)now.kind, size, code, region.begin + byte, &region));
        cell = Cell();
        cell.generation = generation;
    }
    if (!launch->find_races) return;
    if (const Access* before = find_race(cell, now)) fail_race(region, byte, size, now, *before);
}

static void check_alignment(const Region& region, AccessKind kind, unsigned size, const void* code, const char* address) {
    const bool declared = !region.alignment || (unsigned)region.alignment >= size;
    if (declared && (uintptr_t)address % size == 0) return;
    const std::string what = declared ? "misaligned address" : text("declared without __align__(%u)", size);
    fail_access(what.c_str(), describe(kind, size, code, address, &region));
}

static Access access_of(AccessKind kind, const void* code) {
    return {code_offset(code), (uint32_t)block_number, epoch, (uint16_t)current->linear, kind,
            (uint16_t)current->warp_epoch};
}

static void check_access(void* pointer, unsigned size, AccessKind kind, void* return_address) {
    if (!checking) return;
    const char* address = (const char*)pointer;
    if (on_own_stack(address)) return;
    const void* code = (const char*)return_address - 1;  // within the call, not after it
    const int number = find_region(address, code);
    if (number < 0) return check_outside(address, size, kind, code);

    const Region& region = regions[number];
    const size_t byte = address - region.begin;
    if (byte + size > region.bytes)
        fail_access("out of bounds", describe(kind, size, code, address, &region));
    check_alignment(region, kind, size, code, address);
    if (kind != READ && region.kind == READ_ONLY)
        fail_access("write to a const argument", describe(kind, size, code, address, &region));

    Shadow& shadow = shadows[number];
    if (size < shadow.element_bytes) split_elements(shadow, size);
    const Access now = access_of(kind, code);
    const size_t last = (byte + size - 1) / shadow.element_bytes;
    for (size_t i = byte / shadow.element_bytes; i <= last; ++i)
        check_element(region, shadow.cells[i], byte, size, now, code);
}

// A copy of many bytes, such as that of a whole struct.
static void check_range(void* pointer, size_t bytes, AccessKind kind, void* return_address) {
    const size_t parts = (uintptr_t)pointer | bytes;
    const unsigned step = parts % 2 ? 1 : parts % 4 ? 2 : 4;
    for (size_t i = 0; i < bytes; i += step) check_access((char*)pointer + i, step, kind, return_address);
}

void before_atomic(void* address, unsigned size, void* caller) { check_access(address, size, ATOMIC, caller); }

// For what only shared memory can do: `size` bytes there, at a multiple of their number.
static void check_shared(const char* what, const char* address, unsigned size, AccessKind kind,
                         void* return_address) {
    const void* code = (const char*)return_address - 1;
    const int number = find_region(address, code);
    const Region* region = number < 0 ? nearest_region(address) : &regions[number];
    const std::string access = describe(kind, size, code, address, region);
    if (number < 0 || address + size > region->begin + region->bytes) fail_access("out of bounds", access);
    if (region->kind != SHARED) fail_access(what, access);
    check_alignment(*region, kind, size, code, address);
}

void before_matrix_row(const void* row) {
    check_shared("ldmatrix reads shared memory only", (const char*)row, 16, READ, __builtin_return_address(0));
}

static void check_start(const Copy& copy) {
    check_shared("cp.async copies to shared memory only", copy.target, copy.bytes, COPY, copy.caller);
    const void* code = (const char*)copy.caller - 1;
    const int source = find_region(copy.source, code);
    const Region* region = source < 0 ? nearest_region(copy.source) : &regions[source];
    const std::string access = describe(READ, copy.bytes, code, copy.source, region);
    if (source >= 0 && region->kind == SHARED) fail_access("cp.async copies from global memory only", access);
    if ((uintptr_t)copy.source % copy.bytes) fail_access("misaligned address", access);
    check_range((void*)copy.source, copy.given, READ, copy.caller);
    check_access(copy.target, copy.bytes, COPY, copy.caller);
}

// The copy becomes a write that its thread makes now; its source must still be what it was.
static void check_arrival(const Copy& copy) {
    check_range((void*)copy.source, copy.given, READ, copy.caller);
    if (!launch->find_races) return;
    const void* code = (const char*)copy.caller - 1;
    const int number = find_region(copy.target, code);
    Shadow& shadow = shadows[number];
    const size_t byte = copy.target - regions[number].begin;
    const size_t last = (byte + copy.bytes - 1) / shadow.element_bytes;
    for (size_t i = byte / shadow.element_bytes; i <= last; ++i) shadow.cells[i].writes[0] = access_of(WRITE, code);
}

static void start_checks() {
    map_memory();
    start_shadows();
    checking = true;
}

static void start_block_checks() { block_generation = ++last_generation; }

static void end_checks() { checking = false; }

// What the compiler tells a __ubsan_handle_* function.
struct SourceLocation {
    const char* file;
    uint32_t line, column;
};
struct TypeDescriptor {
    uint16_t kind, info;
    char name[1];  // in quotes
};
struct IndexData {
    SourceLocation location;
    const TypeDescriptor *array, *index;
};
struct PointerData {
    SourceLocation location;
    const TypeDescriptor* type;
    unsigned char log2_alignment, check;
};

[[noreturn]] static void fail_undefined(const SourceLocation& location, const std::string& what) {
    fail(("undefined behaviour: " + what).c_str(), {location.file, (int)location.line});
}

}  // namespace emulator

extern "C" {

#define EMULATOR_ACCESS(name, size, kind)             \
    EMULATOR_EXPORT void __tsan_##name(void* address) { \
        emulator::check_access(address, size, emulator::kind, __builtin_return_address(0)); \
    }
#define EMULATOR_ACCESSES(size)                                  \
    EMULATOR_ACCESS(read##size, size, READ)                      \
    EMULATOR_ACCESS(write##size, size, WRITE)                    \
    EMULATOR_ACCESS(volatile_read##size, size, READ)             \
    EMULATOR_ACCESS(volatile_write##size, size, WRITE)           \
    EMULATOR_ACCESS(unaligned_read##size, size, READ)            \
    EMULATOR_ACCESS(unaligned_write##size, size, WRITE)
EMULATOR_ACCESSES(1)
EMULATOR_ACCESSES(2)
EMULATOR_ACCESSES(4)
EMULATOR_ACCESSES(8)
EMULATOR_ACCESSES(16)

EMULATOR_EXPORT void __tsan_read_range(void* address, size_t bytes) {
    emulator::check_range(address, bytes, emulator::READ, __builtin_return_address(0));
}
EMULATOR_EXPORT void __tsan_write_range(void* address, size_t bytes) {
    emulator::check_range(address, bytes, emulator::WRITE, __builtin_return_address(0));
}
EMULATOR_EXPORT void __tsan_init() {}
EMULATOR_EXPORT void __tsan_func_entry(void*) {}
EMULATOR_EXPORT void __tsan_func_exit() {}

#define EMULATOR_UNDEFINED(handler, what)                                              \
    EMULATOR_EXPORT void __ubsan_handle_##handler(emulator::SourceLocation* location) { \
        emulator::fail_undefined(*location, what);                                     \
    }
EMULATOR_UNDEFINED(add_overflow_abort, "signed integer overflow of +")
EMULATOR_UNDEFINED(sub_overflow_abort, "signed integer overflow of -")
EMULATOR_UNDEFINED(mul_overflow_abort, "signed integer overflow of *")
EMULATOR_UNDEFINED(negate_overflow_abort, "signed integer overflow of a negation")
EMULATOR_UNDEFINED(shift_out_of_bounds_abort, "shift by a negative number, or by more than the type has bits")
EMULATOR_UNDEFINED(load_invalid_value_abort, "a bool or enum with a value that it cannot have")
EMULATOR_UNDEFINED(vla_bound_not_positive_abort, "array of no elements")
EMULATOR_UNDEFINED(nonnull_arg_abort, "null pointer as an argument")
EMULATOR_UNDEFINED(nonnull_return_v1_abort, "null pointer returned")
EMULATOR_UNDEFINED(pointer_overflow_abort, "pointer arithmetic beyond the address space")
EMULATOR_UNDEFINED(invalid_builtin_abort, "count of bits of 0")
EMULATOR_UNDEFINED(missing_return, "function without a return value")
EMULATOR_UNDEFINED(builtin_unreachable, "unreachable code")

EMULATOR_EXPORT void __ubsan_handle_divrem_overflow_abort(emulator::SourceLocation* location, void*, void* divisor) {
    // A divisor of up to 64 bits comes in the pointer itself.
    emulator::fail_undefined(*location, divisor ? "signed integer overflow of a division" : "integer division by zero");
}

EMULATOR_EXPORT void __ubsan_handle_out_of_bounds_abort(emulator::IndexData* data, void* index) {
    emulator::fail_undefined(data->location,
                             emulator::text("index %ld out of bounds of %s", (long)index, data->array->name));
}

EMULATOR_EXPORT void __ubsan_handle_type_mismatch_v1_abort(emulator::PointerData* data, void* pointer) {
    const unsigned long alignment = 1ul << data->log2_alignment;
    const char* type = data->type->name;
    std::string what;
    if (!pointer)
        what = emulator::text("access of %s through a null pointer", type);
    else if ((uintptr_t)pointer % alignment)
        what = emulator::text("misaligned address of %s, which needs %lu bytes", type, alignment);
    else
        what = emulator::text("access of %s beyond the end of its object", type);
    emulator::fail_undefined(data->location, what);
}

}  // extern "C"
