"""How many clocks of a multiprocessor the kernels in tensor_cores.cu take, as far as they can be counted: for predictions.

What passes through its L1 cache and shared memory decides, 128 bytes of one line a clock: it takes longer than instructions are
issued, and than tensor cores multiply. What waits for memory, or for a barrier, is not counted.
"""

from collections.abc import Mapping

from gpucnn.kernels.convolution.implicit import parts

WARPS, WORDS, STEP = 8, 16, 32
"""As in tensor_cores.cu: warps of a block, and what a step takes of the depth, of positions in the weight's gradient."""

SECTOR_REQUESTS = 1.5
"""Lines of the L1 cache that a warp's read of 32 pixels in a row touches, on average: they seldom begin where a line does."""


def _tile_clocks(rows: int, columns: int, depth: int, across: int, sharing: int) -> float:
    """Those of a multiprocessor for a tile of a product, by what passes through its L1 cache and shared memory.

    A clock moves 128 bytes of one line. `depth` is in words, `across` as in tensor_cores.cu; of `sharing` parts, each a piece
    of its own, is what a step takes of a row.
    """
    gathered, weights = columns / 32 * SECTOR_REQUESTS, rows * sharing / WORDS
    stored = (columns + 1.25 * rows) / 32
    multiplied = (rows * across + columns * WARPS / across) / 32
    return depth * (gathered + weights + stored + multiplied)


def product_clocks(sizes: Mapping[str, int], of: str) -> int:
    """Those of all tiles of one of the first two products: `of` is "forward" or "images"."""
    rows, columns = sizes[f"{of}_rows"], sizes[f"{of}_columns"]
    taps = sizes["kernel_height"] * sizes["kernel_width"]
    height, depth, width = (
        (sizes["filters"], sizes["channels"], sizes.get("positions", 0))
        if of == "forward"
        else (sizes["channels"], sizes["filters"], sizes.get("pixels", 0))
    )
    sharing = WARPS * 32 // columns
    tiles = parts(height, rows) * parts(width, columns) * sizes["groups"]
    each = sizes["forward_channels" if of == "forward" else "images_filters"]
    words = parts(depth, each * sharing) * parts(each * taps, WORDS // sharing) * WORDS
    written = rows * columns / 4  # eight rows, in lines of their own, of each four columns at a time
    return round(tiles * (_tile_clocks(rows, columns, words, _across(rows), sharing) + written))


def weight_clocks(sizes: Mapping[str, int]) -> int:
    """Those of all tiles of the weight's gradient."""
    rows, taps = sizes["weight_rows"], sizes["weight_channels"] * sizes["kernel_height"] * sizes["kernel_width"]
    across = _across(rows)
    columns = parts(taps, across * 8) * across * 8
    tiles = parts(sizes["filters"], rows) * parts(sizes["channels"], sizes["weight_channels"]) * sizes["groups"]
    moved = (rows + taps) * (SECTOR_REQUESTS + 1) / 32 + (rows * across + columns * WARPS / across) / 32
    return round(tiles * sizes["positions"] * moved)


def _across(rows: int) -> int:
    """Warps side by side, as in tensor_cores.cu."""
    return WARPS * (16 if rows < 64 else 32) // rows
