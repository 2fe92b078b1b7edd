"""Where arrays live: the array module, devices, transfers, and random numbers that every device shares."""

from gpucnn.backend.arrays import Array as Array
from gpucnn.backend.arrays import are_together as are_together
from gpucnn.backend.arrays import as_array as as_array
from gpucnn.backend.arrays import beside as beside
from gpucnn.backend.arrays import converted as converted
from gpucnn.backend.arrays import wide as wide
from gpucnn.backend.arrays import xp_of as xp_of
from gpucnn.backend.device import ChosenDevice as ChosenDevice
from gpucnn.backend.device import Device as Device
from gpucnn.backend.device import choose_device as choose_device
from gpucnn.backend.device import current as current
from gpucnn.backend.device import device_of as device_of
from gpucnn.backend.device import overwrite as overwrite
from gpucnn.backend.device import to_device as to_device
from gpucnn.backend.device import to_host as to_host
from gpucnn.backend.feeds import current_feeds as current_feeds
from gpucnn.backend.feeds import fed as fed
from gpucnn.backend.feeds import recording as recording
from gpucnn.backend.precision import PRECISIONS as PRECISIONS
from gpucnn.backend.precision import as_precision as as_precision
from gpucnn.backend.precision import chosen_precision as chosen_precision
from gpucnn.backend.precision import precision as precision
from gpucnn.backend.random import generator as generator
from gpucnn.backend.random import random_stream as random_stream
from gpucnn.backend.random import random_words as random_words
from gpucnn.backend.random import stream_words as stream_words
from gpucnn.backend.random import uniforms as uniforms
from gpucnn.checks import public_names as _public_names

__all__ = _public_names(globals(), "Array")


def __dir__() -> list[str]:
    return __all__
