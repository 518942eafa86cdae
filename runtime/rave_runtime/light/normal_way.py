"""The normal way of enhancing: the light of a reduced picture, and care for what division alone would spoil.

For a photograph v [h, w, 3] in [0, 1], in sRGB's encoding, and its network's light l [h', w'] on a reduction
r [h', w', 3] of it:

1. d = guard_black(divisor_of(l), r)             strength and highlights; black stays black (`light.look`)
2. D = d brought to [h, w] along v's edges       the guided filter (`light.reduction`); d itself at full size
3. u = v + E                                     colour noise of the shade taken out (`light.chroma`)
4. m = max(R, G, B) of v,  D1 = min(D, 1)
   w = max(m - k * D1, 0),  e = 1 - k * D1,  a = (1 - D1) * w / (1 - k)
   g = (e * m + k * a) / ((D1 * e + a) * m) * D1 / D    the gain; 1 / D where m is 0
5. result = clip(u * g, 0, 1)

Step 4 is the division g = 1 / D with a shoulder. Up to the knee k, which is 0.75 at strength 1 (`Look.knee`),
the brightest channel becomes t = m / D, as published. From there it becomes
k + (t - k) / (1 + c * (t - k)), a hyperbola of the same slope at the knee that takes white, m = 1, to white:
highlights roll off instead of being clipped, and what was brighter stays brighter. There,
c = (1 - D1) / ((1 - k) * e). All channels of a pixel have the same gain, so hues stay.

The published output is the division alone, `light.relight.relight`, with the light at full resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.light import compiled
from rave_runtime.light.chroma import ChromaCorrection
from rave_runtime.light.look import Look, divisor_of, guard_black
from rave_runtime.light.reduction import GuidedLight, Reduction, luminance
from rave_runtime.light.relight import BLOCK_PX, relight_gently, steepness
from rave_runtime.light.sharing import share
from rave_runtime.light.workspace import Workspace

_STRIP_PX: Final = 1 << 17
"""Pixels brought to full resolution at once: few enough to stay in a processor's cache."""

_COMPILED_STRIP_PX: Final = 1 << 19
"""The same for compiled passes, which take a pixel at a time: few enough to answer an interrupt soon."""


class NormalWay:
    """A photograph's divisor in the normal way, and the photograph divided by it.

    Args:
        image: [h, w, 3] uint8 or uint16, the photograph as the network sees it.
        light: [h', w'] float32, the network's light of the reduction; of the image where there is none.
        look: how much of the light is used.
        reduction: the reduced image; None where the image is so small that it is not reduced.
    """

    def __init__(self, image: NDArray[Any], light: Array, look: Look, reduction: Reduction | None) -> None:
        self._height, self._width = image.shape[:2]
        self._look = look
        self._reduction = reduction
        if reduction is None:
            top = np.float32(np.iinfo(image.dtype).max)
            self._divisor = guard_black(divisor_of(light, look), image.astype(np.float32) / top)
        else:
            self._divisor = guard_black(divisor_of(light, look), reduction.pixels)
            self._guided = GuidedLight(self._divisor, luminance(reduction.pixels), self._height, self._width)

    def divisor(self) -> Array:
        """What the photograph is divided by, but for the shoulder: [h, w] float32."""
        result = np.empty((self._height, self._width), np.float32)
        space = Workspace()
        for start, stop in self._strips(_STRIP_PX):
            result[start:stop] = self._rows(start, stop, space)
        return result

    def develop(
        self, pixels: NDArray[Any], out: NDArray[Any], curve: Array | None = None, threads: int = 1
    ) -> None:
        """Writes the enhanced photograph.

        Args:
            pixels: [h, w, c] uint8 or uint16, in the photograph's own colour space, one channel or three.
            out: like the pixels; may be the pixels, and those that the reduction was made of.
            curve: its tone curve where it is not sRGB's: see `rave_runtime.photos.colour.tone_curve`.
            threads: among which the rows are shared; the result is the same.
        """
        chroma = None
        if pixels.shape[2] == 3 and min(self._height, self._width) >= BLOCK_PX:
            chroma = ChromaCorrection(pixels, self._divisor, curve, threads)
        is_compiled = self._is_compiled(pixels, out, curve)

        def develop_strips(strips: Sequence[tuple[int, int]]) -> None:
            space = Workspace()
            for start, stop in strips:
                strip, target = pixels[start:stop], out[start:stop]
                if is_compiled:
                    self._develop_compiled(strip, target, start, chroma, space)
                else:
                    divisor = self._rows(start, stop, space)
                    correction = None if chroma is None else chroma.rows(start, stop, space)
                    relight_gently(strip, divisor, target, self._look.knee, correction, curve, space)

        share(develop_strips, list(self._strips(_COMPILED_STRIP_PX if is_compiled else _STRIP_PX)), threads)

    def _is_compiled(self, pixels: NDArray[Any], out: NDArray[Any], curve: Array | None) -> bool:
        """Whether compiled passes take these pixels; their luma must be that of the reduced image."""
        if self._reduction is None or curve is not None or not self._reduction.is_of(pixels):
            return False
        return compiled.takes(pixels) and compiled.takes(out)

    def _develop_compiled(
        self,
        pixels: NDArray[Any],
        out: NDArray[Any],
        start: int,
        chroma: ChromaCorrection | None,
        space: Workspace,
    ) -> None:
        """Writes some rows of the enhanced photograph, as `develop` does by numpy, bit for bit."""
        stop = start + len(pixels)
        line = self._guided.wide_line(start, stop, np.iinfo(np.uint8).max, space)
        added = None if chroma is None else chroma.blocks(start, stop)
        if added is not None:
            added *= np.float32(np.iinfo(np.uint8).max)
        bounds, knee = (self._guided.low, self._guided.high), self._look.knee
        compiled.develop(
            pixels,
            out,
            line.values,
            line.upper,
            line.share,
            bounds,
            knee,
            float(steepness(knee)),
            added,
            space,
        )

    def _rows(self, start: int, stop: int, space: Workspace) -> Array:
        if self._reduction is None:
            return self._divisor[start:stop]
        return self._guided.rows(start, stop, self._reduction.luminance(start, stop), space)

    def _strips(self, most_px: int) -> Iterator[tuple[int, int]]:
        """First row and end of each strip. Strips begin with a block and are at least one block high."""
        step = max(1, most_px // self._width // BLOCK_PX) * BLOCK_PX
        start = 0
        while start < self._height:
            stop = start + step if start + step + BLOCK_PX <= self._height else self._height
            yield start, stop
            start = stop
