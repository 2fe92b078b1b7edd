// The table of a .cu file's kernels, from which Python learns the parameters' true C++ types.
#pragma once

namespace emulator {

// The text holds "[with Type = const float*]", which module.py takes apart.
template <class Type>
const char* type_text() {
    return __PRETTY_FUNCTION__;
}

template <class Type>
struct SizeOf {
    static constexpr int value = sizeof(Type);
};

template <unsigned long... indices>
struct Indices {};

// Calls a kernel with arguments that lie behind pointers, as a launch passes them. Not instrumented: the runtime's own
// memory is no kernel's business.
template <class... Types, unsigned long... indices>
__attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined"))) void invoke(
    void (*function)(Types...), [[maybe_unused]] void** arguments, Indices<indices...>) {
    function(*(Types*)arguments[indices]...);
}

template <class... Types>
__attribute__((no_sanitize("thread"), no_sanitize("undefined"))) Kernel describe(const char* name,
                                                                                 void (*function)(Types...),
                                                                                 int launch_bound) {
    static const Parameter parameters[] = {{type_text<Types>(), SizeOf<Types>::value}..., {nullptr, 0}};
    return {name,
            [](void (*erased)(), void** arguments) {
                invoke((void (*)(Types...))erased, arguments, Indices<__integer_pack(sizeof...(Types))...>());
            },
            (void (*)())function, parameters, sizeof...(Types), launch_bound};
}

}  // namespace emulator
