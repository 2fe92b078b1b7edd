"""Where arrays live: the array module, devices, transfers, and random numbers that every device shares."""

from gpucnn.backend.array_module import Array as Array
from gpucnn.backend.array_module import as_array as as_array
from gpucnn.backend.array_module import xp_of as xp_of
from gpucnn.backend.device import Choice as Choice
from gpucnn.backend.device import Device as Device
from gpucnn.backend.device import beside as beside
from gpucnn.backend.device import choose_device as choose_device
from gpucnn.backend.device import current as current
from gpucnn.backend.random import generator as generator
from gpucnn.backend.random import random_stream as random_stream
from gpucnn.backend.random import random_words as random_words
from gpucnn.backend.random import uniforms as uniforms
from gpucnn.backend.transfer import converted as converted
from gpucnn.backend.transfer import device_of as device_of
from gpucnn.backend.transfer import overwrite as overwrite
from gpucnn.backend.transfer import to_device as to_device
from gpucnn.backend.transfer import to_host as to_host
