"""Arrays from one device to another. Nothing is copied that is already there."""

import numpy as np

from gpucnn.backend.array_module import Array, xp_of
from gpucnn.backend.device import CPU, Device, beside, current


def device_of(array: Array) -> Device:
    """The device on which `array` lives."""
    return CPU if xp_of(array) is np else Device("cuda", int(array.device.id))


def to_device(array: Array, device: Device) -> Array:
    """`array` on `device`: itself if it is there, else a copy."""
    if device_of(array) == device:
        return array
    if device.kind == "cpu":
        return to_host(array)
    with current(device):
        return device.xp.asarray(to_host(array))  # from one GPU to another by way of the host


def converted(array: Array, dtype: np.dtype) -> Array:
    """`array` in another dtype, on its device: itself if it has it, else a copy."""
    with beside(array):
        return array.astype(dtype, copy=False)


def overwrite(array: Array, values: np.ndarray) -> None:
    """Put host `values`, of the same shape and dtype, into an array on any device. Does not wait for the device."""
    if xp_of(array) is np:
        array[...] = values
    else:
        with beside(array):
            array.set(values)


def to_host(array: Array) -> np.ndarray:
    """`array` as a numpy.ndarray. Waits for the device if it lives on one."""
    if xp_of(array) is np:
        return np.asarray(array)
    with beside(array):
        host: np.ndarray = array.get()
    return host
