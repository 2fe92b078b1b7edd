"""Modules, orders, names for messages, and what an emulator refuses."""

import threading

import numpy as np
import pytest

from gpucnn.errors import ArgumentError, DeviceError, GpucnnError, KernelError
from gpucnn.testing.emulator import Emulator, compiler
from tests.testing.emulator.clean_kernels import CASES, FOLDER, Array, run

TICKETS = """
extern "C" __global__ void tickets(unsigned* next, unsigned* ticket)
{
    ticket[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1u);
}
"""


def tickets(emulator: Emulator, blocks: int = 4, threads: int = 64) -> Array:
    """When each thread ran."""
    result = np.zeros(blocks * threads, np.uint32)
    function = emulator.module(TICKETS).function("tickets")
    function((blocks,), (threads,), (np.zeros(1, np.uint32), result))
    return result


def test_orders() -> None:
    emulator = Emulator("fast")
    count = np.arange(256)
    np.testing.assert_array_equal(tickets(emulator), count)
    emulator.order = "reverse"
    np.testing.assert_array_equal(tickets(emulator), count[::-1])
    emulator.order = "random"
    first = tickets(emulator)
    np.testing.assert_array_equal(np.sort(first), count)
    blocks = first.reshape(4, 64) // 64
    assert (blocks == blocks[:, :1]).all(), "blocks run one after another"
    assert (np.diff(first.reshape(4, 64).astype(int)) < 0).any(axis=1).all(), (
        "threads of every block run in another order"
    )
    np.testing.assert_array_equal(tickets(emulator), first)
    emulator.seed = 1
    assert not np.array_equal(tickets(emulator), first)
    np.testing.assert_array_equal(np.sort(tickets(emulator)), count)


def test_random_orders_the_blocks_too() -> None:
    emulator = Emulator("fast", "random")
    assert sorted(tickets(emulator, 64, 1)) == list(range(64))
    assert not np.array_equal(tickets(emulator, 64, 1), np.arange(64))


def test_modules_are_kept() -> None:
    emulator = Emulator("fast")
    module = emulator.module(TICKETS)
    assert emulator.module(TICKETS, ["-std=c++17", "-arch=sm_80"]) is module
    assert emulator.module(TICKETS, ["-DX"]) is not module
    emulator.mode = "check"
    assert emulator.module(TICKETS) is not module


def test_signature_is_the_true_type() -> None:
    source = """
    typedef float Element;
    #define POINTER(type) const type* __restrict__
    __global__ void plain(POINTER(Element) first, Element second[3], const int third, long long* fourth,
                          unsigned char fifth, /* a remark, (with) brackets */ const unsigned long long* sixth, void* seventh);
    __global__ void plain(POINTER(Element) first, Element second[3], const int third, long long* fourth,
                          unsigned char fifth, const unsigned long long* sixth, void* seventh) {}
    """
    assert Emulator("fast").module(source).function("plain").signature == (
        ("first", "const float*"),
        ("second", "float*"),
        ("third", "int"),
        ("fourth", "long long*"),
        ("fifth", "unsigned char"),
        ("sixth", "const unsigned long long*"),
        ("seventh", "void*"),
    )


def test_kernels_that_the_preprocessor_drops_are_not_there() -> None:
    source = """
    #define KERNEL(name) extern "C" __global__ void name()
    #ifdef EXTRA
    KERNEL(extra) {}
    #endif
    // __global__ void in_a_comment() {}
    KERNEL(made_by_a_macro) {}
    """
    with pytest.raises(ArgumentError, match=r"^there is no kernel 'extra' in this module, only \['made_by_a_macro'\]$"):
        Emulator("fast").module(source).function("extra")
    Emulator("fast").module(source, ["-DEXTRA"]).function("extra")((1,), (1,), ())


def test_options_define_and_undefine() -> None:
    source = """
    #ifndef UNSET
    extern "C" __global__ void values(T* x) { x[0] = A(VALUE); x[1] = FLAG; }
    #endif
    """
    x = np.zeros(2)
    options = ["-DT=double", "-DA(x)=(2 * x)", "-DVALUE=21", "-DFLAG", "-DUNSET", "-UUNSET", "--use_fast_math"]
    Emulator("fast").module(source, options).function("values")((1,), (1,), (x,))
    assert x.tolist() == [42, 1]


def test_a_line_directive_names_the_file() -> None:
    source = '#line 1 "pool.cu"\n' + (FOLDER / "pool.cu").read_text()
    broken = source.replace("sum += images", "sum += pictures")
    with pytest.raises(
        KernelError, match=r"^pool\.cu does not compile:\n(.*\n)*pool\.cu:28:\d+: error: .pictures. was not declared"
    ):
        Emulator().module(broken)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x[0] = INFINITY;", "INFINITY.* was not declared"),
        ("x[0] = NAN;", "NAN.* was not declared"),
        ("uint32_t i = 0; x[i] = 1;", "uint32_t.* was not declared"),
        ("x[0] = std::exp(1.0f);", ".*"),
        ("atomicMax(x, 1.0f);", "no matching function for call to .*atomicMax"),
        ("threadIdx.x = 1;", "read-only"),
    ],
)
def test_what_nvrtc_refuses_is_refused(text: str, complaint: str) -> None:
    source = f'extern "C" __global__ void refused(float* x)\n{{\n    {text}\n}}\n'
    with pytest.raises(
        KernelError, match=rf"^refused\.cu does not compile:\n(.*\n)*refused\.cu:3:\d+: error: .*{complaint}"
    ):
        Emulator("fast").module(source, filename="refused.cu")


def test_standard_headers_are_refused() -> None:
    with pytest.raises(KernelError, match=r"headers\.cu:1:\d+: fatal error: stdint\.h"):
        Emulator("fast").module("#include <stdint.h>\n", filename="headers.cu")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^mode must be \"fast\", \"check\" or \"coverage\", got 'slow'$"):
        Emulator("slow")
    with pytest.raises(ArgumentError, match=r"^order must be \"forward\", \"reverse\" or \"random\", got 'sideways'$"):
        Emulator(order="sideways")
    with pytest.raises(ArgumentError, match=r"^seed must be an int, got 0\.5$"):
        Emulator(seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentError, match=r"^name expression 'nothing<float>': there is no kernel 'nothing', only \['tickets'\]$"
    ):
        Emulator("fast").module(TICKETS, name_expressions=["nothing<float>"])


def test_threads_may_share_an_emulator() -> None:
    emulator = Emulator()
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(10):
                for array, expected in run(CASES[name], emulator).expected:
                    np.testing.assert_allclose(array, expected, rtol=2e-5, atol=2e-5)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(name,)) for name in ("row_sum", "im2col", "row_sum", "softmax")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler() is None
    message = r"^the CUDA emulator compiles kernels, but {}; fix: install g\+\+ \(Debian: apt-get install g\+\+\)$"
    with pytest.raises(DeviceError, match=message.format(r"g\+\+ is not there")):
        Emulator().module(TICKETS)
    monkeypatch.setenv("CXX", "g++-nowhere")
    cause = r"the environment variable CXX names 'g\+\+-nowhere', which is not there"
    with pytest.raises(DeviceError, match=message.format(cause)):
        Emulator().module(TICKETS)


def test_clang_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    clang = tmp_path_factory.mktemp("bin") / "clang++"
    clang.write_text("#!/bin/sh\necho clang version 19.1.0\n")
    clang.chmod(0o755)
    monkeypatch.setenv("CXX", str(clang))
    with pytest.raises(
        DeviceError, match=r"^the CUDA emulator needs g\+\+, but .*clang\+\+ is clang; fix: set CXX=g\+\+, "
    ):
        Emulator().module(TICKETS)


def test_errors_are_gpucnn_errors() -> None:
    assert issubclass(KernelError, GpucnnError)
