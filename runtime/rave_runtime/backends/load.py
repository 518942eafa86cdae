"""Loads a bundle's network with the library that runs it on a device."""

from __future__ import annotations

from rave_runtime.backends.devices import Device
from rave_runtime.backends.limits import startable_threads, usable_processors
from rave_runtime.backends.network import LoadedNetwork
from rave_runtime.bundle import Bundle, Precision


def load_network(bundle: Bundle, precision: Precision, device: Device, threads: int = 0) -> LoadedNetwork:
    """Returns the bundle's network, ready to run on a device.

    Args:
        bundle: the bundle with the graphs.
        precision: the precision of the graphs to run.
        device: what `rave_runtime.backends.devices.choose_device` chose.
        threads: processors that each call uses; 0 takes all processors this process may use.

    Raises:
        BundleError: the graphs are missing, damaged or cannot be loaded.
        DeviceError: the device cannot be used.
    """
    threads = threads or usable_processors()
    if device.name == "openvino":
        from rave_runtime.backends.openvino_network import OpenVinoNetwork

        return OpenVinoNetwork(bundle, precision, threads)
    if device.name == "tensorrt":
        from rave_runtime.backends.tensorrt.network import TensorRtNetwork

        return TensorRtNetwork(bundle, precision)
    from rave_runtime.backends.onnx_network import OnnxNetwork

    # Three sessions each start `threads - 1` threads, and fail where the system allows fewer.
    threads = 1 + startable_threads(3 * (threads - 1)) // 3
    return OnnxNetwork(bundle, precision, device, threads)
