// Compiled in for mode "coverage": lets Python have the counters written at any time.
#pragma once

extern "C" {
void __gcov_dump(void);
void __gcov_reset(void);
EMULATOR_EXPORT void gpucnn_emulator_write_counters() { __gcov_dump(); }
EMULATOR_EXPORT void gpucnn_emulator_reset_counters() { __gcov_reset(); }
}
