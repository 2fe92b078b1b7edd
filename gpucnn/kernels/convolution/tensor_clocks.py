"""How many clocks of a multiprocessor the kernels in tensor_cores.cu take, as far as they can be counted: for predictions.

What passes through its L1 cache and shared memory decides, 128 bytes of one line a clock: it takes longer than instructions are
issued, and than tensor cores multiply. What waits for memory, or for a barrier, is not counted.
"""

from collections.abc import Mapping

from gpucnn.kernels.convolution.implicit import parts

WARPS, WORDS, STEP = 8, 16, 32
"""As in tensor_cores.cu: warps of a block, and what a step takes of the depth, of positions in the weight's gradient."""

LINES = 1.5
"""Those of the L1 cache that a warp's read of 32 pixels in a row touches, on average: they seldom begin where a line does."""


def tile_clocks(rows: int, columns: int, each: int, depth: int, taps: int) -> int:
    """Those for a tile of a product, where threads bring `each` of the `depth` channels in a round."""
    sharing, across = WARPS * 32 // columns, warps_across(rows, columns)
    steps = parts(depth, each * sharing) * parts(each * taps, WORDS // sharing)
    gathered, weights = columns / 32 * LINES, rows * sharing / WORDS
    stored, multiplied = (columns + rows) / 32, (rows * across + columns * WARPS / across) / 32
    written = rows * columns / 4  # of eight rows, which are in lines of their own, four columns at a time
    return round(steps * WORDS * (gathered + weights + stored + multiplied) + written)


def product_clocks(sizes: Mapping[str, int], of: str) -> int:
    """Those of all tiles of one of the first two products: `of` is "forward" or "images"."""
    names = ("filters", "channels", "positions") if of == "forward" else ("channels", "filters", "pixels")
    height, depth, width = (sizes[name] for name in names)
    rows, columns, each = (sizes[f"{of}_{name}"] for name in ("rows", "columns", names[1]))
    tiles = parts(height, rows) * parts(width, columns) * sizes["groups"]
    return tiles * tile_clocks(rows, columns, each, depth, sizes["kernel_height"] * sizes["kernel_width"])


def weight_clocks(sizes: Mapping[str, int]) -> int:
    """Those of all tiles of the weight's gradient."""
    rows, taps = sizes["weight_rows"], sizes["weight_channels"] * sizes["kernel_height"] * sizes["kernel_width"]
    across = warps_across(rows, 0)
    columns = parts(taps, across * 8) * across * 8
    tiles = parts(sizes["filters"], rows) * parts(sizes["channels"], sizes["weight_channels"]) * sizes["groups"]
    moved = (rows + taps) * (LINES + 1) / 32 + (rows * across + columns * WARPS / across) / 32
    return round(tiles * sizes["positions"] * moved)


def warps_across(rows: int, columns: int) -> int:
    """Warps side by side in a tile: `share_of` in tensor_cores.cu."""
    return WARPS * (16 if rows < 32 or (rows == 32 and columns < 256) else 32) // rows
