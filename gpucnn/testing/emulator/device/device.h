// CUDA C++ as a kernel sees it, for g++. Compiled in before each .cu file.
//
// No standard header is included, here or below: under NVRTC a kernel has neither uint32_t nor INFINITY nor std::,
// and what does not compile there must not compile here. It also keeps a build at a tenth of a second.
#pragma once
#include "../runtime/interface.h"
#include "keywords.h"
#include "vector_types.h"
#include "synchronization.h"
#include "atomics.h"
#include "bits.h"
#include "math_functions.h"
#include "warp.h"
#include "kernel_table.h"
