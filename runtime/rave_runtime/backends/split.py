"""The three calls of a network, composed of the two graphs into which a bundle splits it.

A subclass implements only how each graph is run. This base class has the order of the calls, the way to
compute a map without pooling the window's own features, and the checks of the graphs' results.
"""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Image
from rave_runtime.bundle import ImageType, NetworkFacts
from rave_runtime.errors import BundleError, PhotoError

Part = Literal["context", "enhance"]
ContextOutput = Literal["features", "pooled"]

_MAX_LIGHT: Final = 1000.0
"""A window whose light is greater than this everywhere would become black, and is refused. Sound networks
give 0 to about 1."""

_MAX_FEATURE: Final = 1e20
"""Greater features are refused. Those of sound networks stay below 1,000, but the export's proof of the halo
runs them on pictures with extreme values."""


def image_type(images: Image) -> ImageType:
    """Returns the dtype of the images that a context graph must take for these windows."""
    return "uint8" if images.dtype == np.uint8 else "float32"


class SplitNetwork(ABC):
    """Base of the classes that run a context graph and an enhance graph: see `Network`."""

    facts: NetworkFacts

    @abstractmethod
    def graph_file(self, part: Part, images: Image) -> str:
        """Returns the name of the file that holds a part of the network, for messages."""

    @abstractmethod
    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> Mapping[str, Any]:
        """Runs the context graph.

        Args:
            images: batch of windows, as for `Network.pool`.
            pool_rows: [n, bins, h] float32.
            pool_cols: [n, bins, w] float32.
            outputs: the outputs that the caller uses.

        Returns:
            At least these outputs, in a form that `run_enhance` takes. They need to stay valid only until
            the same thread runs a graph again.
        """

    @abstractmethod
    def run_enhance(self, features: Any, pooled: Any, rows: Array, cols: Array) -> Array:
        """Runs the enhance graph.

        Args:
            features: as `run_context` gives them.
            pooled: as `run_context` gives it, or [n, channels, bins, bins] float32.
            rows: [n, h, bins] float32.
            cols: [n, w, bins] float32.

        Returns:
            [n, h, w] float32, an array that nothing else writes to.
        """

    def run_whole(self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array) -> Array:
        """Runs both graphs for whole images: by default one after the other. Returns [n, h, w] float32."""
        context = self.run_context(images, pool_rows, pool_cols, ("features", "pooled"))
        self._check_context(images, context)
        return self.run_enhance(context["features"], context["pooled"], rows, cols)

    def fetch(self, pooled: Any) -> Array:
        """Returns the pooled grids of `run_context` as a float32 array that nothing else writes to."""
        result: Array = pooled
        return result

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """Returns the lock that is held while the graphs of one call run: by default none."""
        return contextlib.nullcontext()

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        with self.exclusive():
            context = self.run_context(images, pool_rows, pool_cols, ("pooled",))
            self._check_context(images, {"pooled": context["pooled"]})
            pooled = self.fetch(context["pooled"])
        if not isinstance(context["pooled"], np.ndarray):
            self._check_features(images, pooled)
        return pooled

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        # The context graph also pools. Matrices of zeros make it pool nothing of this window.
        no_rows, no_cols = (np.zeros(np.swapaxes(each, 1, 2).shape, np.float32) for each in (rows, cols))
        with self.exclusive():
            context = self.run_context(images, no_rows, no_cols, ("features",))
            self._check_context(images, {"features": context["features"]})
            light = self.run_enhance(context["features"], pooled, rows, cols)
        self._check_light(images, light)
        return light

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        with self.exclusive():
            light = self.run_whole(images, pool_rows, pool_cols, rows, cols)
        self._check_light(images, light)
        return light

    def _check_context(self, images: Image, context: Mapping[str, Any]) -> None:
        """Checks the shapes of the context graph's results, and their values where they are on the CPU."""
        count, height, width = images.shape[:3]
        bins = sum(self.facts.bins)
        shapes = {
            "features": (count, self.facts.channels, height, width),
            "pooled": (count, self.facts.channels, bins, bins),
        }
        for name, value in context.items():
            self._check_shape("context", images, name, value, shapes[name])
            if isinstance(value, np.ndarray):
                self._check_features(images, value)

    def _check_light(self, images: Image, light: Array) -> None:
        self._check_shape("enhance", images, "light", light, images.shape[:3])
        self._check_numbers("enhance", images, light)

    def _check_shape(
        self, part: Part, images: Image, name: str, value: Any, expected: tuple[int, ...]
    ) -> None:
        """Refuses a graph whose result has another shape than the window needs.

        Raises:
            BundleError: the shape is another one.
        """
        shape = value.shape() if callable(value.shape) else value.shape  # a method of onnxruntime's values
        if tuple(shape) != tuple(expected):
            raise BundleError(
                f"{self.graph_file(part, images)} gave {name} of the shape {list(shape)}, "
                f"this window needs {list(expected)}: export the bundle again"
            )

    def _check_features(self, images: Image, values: Array) -> None:
        """Refuses unusable features here, since an 8-bit graph would round them to ordinary numbers.

        Raises:
            PhotoError: a value is infinite or not a number, or far greater than any sound feature.
        """
        largest = float(np.maximum(values.max(), -values.min()))
        if not largest <= _MAX_FEATURE:  # in this form, NaN is refused too
            self._refuse_numbers("context", images, is_number=math.isfinite(largest))

    def _check_numbers(self, part: Part, images: Image, values: Array) -> None:
        """Refuses a result that would silently make a photograph black or white.

        Raises:
            PhotoError: a value is infinite or not a number, or all are greater than `_MAX_LIGHT`.
        """
        is_number = bool(np.isfinite(values).all())
        if not is_number or values.min() > _MAX_LIGHT:
            self._refuse_numbers(part, images, is_number=is_number)

    def _refuse_numbers(self, part: Part, images: Image, *, is_number: bool) -> NoReturn:
        wrong = "far beyond 0 to 1" if is_number else "not a number"
        raise PhotoError(
            f"cannot be enhanced with this model: {self.graph_file(part, images)} computed light that is "
            f"{wrong}; choose another --precision (fp32), or another model"
        )
