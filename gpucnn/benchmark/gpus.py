"""GPUs as their makers describe them, for predictions: what no data sheet has is an assumption, and says so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GPU:
    """A GPU's speeds at best: bytes, FLOPs (a multiply-add is two) and instructions a second; seconds."""

    title: str
    bandwidth: float
    """Of its memory, read and written together."""
    cache_bytes: float
    cache_bandwidth: float
    """Of its L2 cache. No data sheet has it: from published microbenchmarks, to some 20 %."""
    fp32: float
    tf32: float
    """Of tensor cores, without sparsity."""
    multiprocessors: int
    clock: float
    """Hz, boost."""
    host_link: float
    """Bytes a second from the host: PCIe, one way."""
    peer_link: float
    """Bytes a second to other GPUs of the machine, one way: NVLink where there is one, else PCIe."""
    launch_floor: float = 2.5e-6
    """What the shortest kernel takes, one after the other. Assumed: two to three microseconds are seen in profiles."""
    eager_call: float = 12e-6
    """The host's time for one operation in CuPy. Assumed: CuPy's performance guide has 12 for a sum, its issues 8 to 25."""
    graph_launch: float = 15e-6
    """The host's time to launch a graph. Assumed: 83 for a graph of 117 empty kernels are published (ahrefs/ocannl#488)."""
    exchange_floor: float = 10e-6
    """What NCCL's shortest exchange takes between GPUs of one machine. Assumed: its tests show 8 to 20 microseconds."""

    @property
    def slots(self) -> float:
        """Instructions a second, each of a thread: four schedulers a multiprocessor, 32 threads each."""
        return self.multiprocessors * 4 * 32 * self.clock


GPUS: dict[str, GPU] = {
    "h200": GPU(
        "NVIDIA H200 SXM",
        bandwidth=4.8e12,  # data sheet: HBM3e
        cache_bytes=50e6,  # H100 white paper; the same die
        cache_bandwidth=5.6e12,  # as H100
        fp32=67e12,  # data sheet
        tf32=494e12,  # data sheet: 989 with sparsity
        multiprocessors=132,  # data sheet of H100 SXM
        clock=1.98e9,  # 67e12 / (132 * 128 * 2)
        host_link=64e9,  # PCIe 5.0 x16
        peer_link=450e9,  # data sheet: NVLink 4, 900 both ways
    ),
    "h100": GPU(
        "NVIDIA H100 SXM",
        bandwidth=3.35e12,  # data sheet: HBM3
        cache_bytes=50e6,  # white paper
        cache_bandwidth=5.6e12,  # Chips and Cheese: 5.5 to 5.7 on the PCIe card
        fp32=67e12,  # data sheet
        tf32=494e12,  # data sheet: 989 with sparsity
        multiprocessors=132,  # white paper
        clock=1.98e9,  # 67e12 / (132 * 128 * 2)
        host_link=64e9,  # PCIe 5.0 x16
        peer_link=450e9,  # data sheet: NVLink 4, 900 both ways
    ),
    "a100": GPU(
        "NVIDIA A100 SXM 80 GB",
        bandwidth=2.039e12,  # data sheet: HBM2e
        cache_bytes=40e6,  # white paper
        cache_bandwidth=4.5e12,  # white paper: 5,120 bytes a clock, 7.2; measured are 4 to 5
        fp32=19.5e12,  # data sheet
        tf32=156e12,  # data sheet
        multiprocessors=108,  # white paper
        clock=1.41e9,  # white paper
        host_link=32e9,  # PCIe 4.0 x16
        peer_link=300e9,  # data sheet: NVLink 3, 600 both ways
    ),
    "rtx4090": GPU(
        "NVIDIA GeForce RTX 4090",
        bandwidth=1.008e12,  # Ada white paper: GDDR6X at 21 Gbit/s, 384 bits
        cache_bytes=72e6,  # Ada white paper
        cache_bandwidth=5.0e12,  # Chips and Cheese: about 5
        fp32=82.6e12,  # Ada white paper
        tf32=82.6e12,  # Ada white paper: 165 with sparsity
        multiprocessors=128,  # Ada white paper
        clock=2.52e9,  # Ada white paper
        host_link=32e9,  # PCIe 4.0 x16
        peer_link=32e9,  # by way of PCIe: it has no NVLink
    ),
    "rtx4060": GPU(
        "NVIDIA GeForce RTX 4060 Laptop",
        bandwidth=256e9,  # GDDR6 at 16 Gbit/s, 128 bits
        cache_bytes=32e6,  # the full AD107
        cache_bandwidth=1.2e12,  # assumed: the 4090's a multiprocessor and clock, with room
        fp32=12.9e12,  # 24 * 128 * 2 * clock
        tf32=12.9e12,  # as fp32 on Ada's GeForce cards
        multiprocessors=24,  # 3,072 cores
        clock=2.1e9,  # assumed: boost is 1.47 to 2.37, as the laptop's power allows
        host_link=16e9,  # PCIe 4.0 x8
        peer_link=16e9,  # by way of PCIe: it has no NVLink
    ),
}
"""By the names that `gpucnn bench --gpu` knows."""


DRIVER_NAMES = {
    "nvidia h200": "h200",
    "nvidia h100 80gb hbm3": "h100",
    "nvidia a100-sxm4-80gb": "a100",
    "nvidia geforce rtx 4090": "rtx4090",
    "nvidia geforce rtx 4060 laptop gpu": "rtx4060",
}
"""What drivers call the cards in the table, in lower case: a sister of another memory or power has other figures."""


def named(title: str) -> str | None:
    """The name of the GPU that a driver calls `title`, e.g. "NVIDIA H200"; None if it is not in the table."""
    return DRIVER_NAMES.get(title.lower())
