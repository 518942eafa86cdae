"""The torch network as the reference with which graphs are compared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rave_export.proof.parity import Reference
from rave_runtime.arrays import Array, Pixels
from rave_train.network import EnhancementNetwork


def torch_reference(network: EnhancementNetwork) -> Reference:
    """A reference that runs the torch network on whole pictures, in float32 on the CPU."""

    def light(picture: Pixels) -> Array:
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None]).astype(np.float32)
        planes /= np.iinfo(picture.dtype).max
        with torch.inference_mode():
            result: NDArray[np.float32] = network(torch.from_numpy(planes))[0, 0].numpy()
        return result

    return Reference("torch float32, whole image", light)
