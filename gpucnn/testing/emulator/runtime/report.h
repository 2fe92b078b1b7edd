// What a launch says when it fails. The first report stands: whatever follows it is a consequence.
//
// Code addresses are written as "@{1a2b}", an offset into the kernel's library, which Python turns into file and line.
#pragma once
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <string>

#include "interface.h"

namespace emulator {

static std::string failure;

static bool failed() { return !failure.empty(); }

__attribute__((format(printf, 1, 2))) static std::string text(const char* format, ...) {
    char buffer[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(buffer, sizeof buffer, format, values);
    va_end(values);
    return buffer;
}

static void report(const std::string& message) {
    if (!failed()) failure = message;
}

static std::string at(Place place) { return text("@[%s:%d]", place.file, place.line); }

}  // namespace emulator
