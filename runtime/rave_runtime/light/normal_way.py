"""The normal way of enhancing: the light of a reduced picture, and corrections of what division would spoil.

For a photograph v [h, w, 3] in [0, 1], in sRGB's encoding, and the network's light l [h', w'] of a reduced
picture r [h', w', 3] of it, in which frames and drawings do not count (`light.estimate`):

1. d = guard_black(guard_white(divisor_of(without_unseen(l)), r), r)
                                                 a photograph that would hardly change stays as it is;
                                                 strength and highlights; white stays white and black
                                                 black (`light.look`)
2. D = d enlarged to [h, w] along v's edges      guided filter (`light.reduction`); D = d if r is not smaller
3. u = v + E                                     removes colour noise of the shade (`light.chroma`)
4. m = max(R, G, B) of v,  D1 = min(D, 1)
   w = max(m - k * D1, 0),  e = 1 - k * D1,  a = (1 - D1) * w / (1 - k)
   g = (e * m + k * a) / ((D1 * e + a) * m) * D1 / D    the gain; 1 / D where m is 0
5. result = clip(u * g, 0, 1)

Step 4 is the division g = 1 / D with a roll-off (a shoulder) for highlights. Up to the knee k, which is 0.75
at strength 1 (`Look.knee`), the brightest channel becomes t = m / D, as published. Above it, the channel
becomes k + (t - k) / (1 + c * (t - k)) with c = (1 - D1) / ((1 - k) * e), a hyperbola that has the same slope
at the knee and maps white, m = 1, to white: highlights roll off instead of being clipped, and brighter pixels
stay brighter. All channels of a pixel have the same gain, so hues stay.

The published method is the division alone, `light.relight.relight`, with the light at full resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array, empty_like_pixels, is_wide
from rave_runtime.light import compiled
from rave_runtime.light.chroma import ChromaCorrection
from rave_runtime.light.compiled import OtherCurve
from rave_runtime.light.look import Look, divisor_of, guard_black, guard_white, without_unseen
from rave_runtime.light.reduction import GuidedLight, Reduction, luminance
from rave_runtime.light.relight import BLOCK_PX, relight_gently, steepness, value_tables
from rave_runtime.light.sharing import share
from rave_runtime.light.workspace import Workspace

_STRIP_PX: Final = 1 << 17
"""Pixels brought to full resolution at once: few enough to stay in a processor's cache."""

_COMPILED_STRIP_PX: Final = 1 << 19
"""The same for compiled passes, which need no cache for a strip: few enough to answer an interrupt soon."""


def look_up(pixels: NDArray[Any], table: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """Returns the value of a table for each value of a picture.

    Args:
        pixels: [h, w, c] uint8 or uint16.
        table: [256] uint8, or [65536] uint16.
        threads: how many threads share the rows.
    """
    if not compiled.takes(pixels):
        return np.take(table, pixels)
    result = empty_like_pixels(pixels)

    def look_up_rows(rows: Sequence[slice]) -> None:
        for part in rows:
            compiled.look_up(pixels[part], table, result[part])

    step = max(1, _COMPILED_STRIP_PX // pixels.shape[1])
    share(look_up_rows, [slice(top, top + step) for top in range(0, len(pixels), step)], threads)
    return result


class NormalWay:
    """Computes a photograph's divisor in the normal way, and divides the photograph by it.

    Args:
        image: [h, w, 3] uint8 or uint16, the photograph, in sRGB's tone curve.
        light: [h', w'] float32, the network's light of the reduced image, or of the image if not reduced.
        look: how much of the light is used.
        reduction: the reduced image; None where the image is so small that it is not reduced.
        seen: [h', w', 3], what the network saw, where that has other primaries; None where it is the reduced
            image, or the image if not reduced.
    """

    def __init__(
        self,
        image: NDArray[Any],
        light: Array,
        look: Look,
        reduction: Reduction | None,
        seen: NDArray[Any] | None = None,
    ) -> None:
        self._image = image
        self._height, self._width = image.shape[:2]
        self._look = look
        self._reduction = reduction
        divisor = divisor_of(without_unseen(light), look)
        if reduction is None:
            shown = image if seen is None else seen
            shown = shown.astype(np.float32) / np.float32(np.iinfo(shown.dtype).max)
        else:
            shown = reduction.pixels if seen is None else seen
        self._divisor = guard_black(guard_white(divisor, shown), shown)
        if reduction is not None:
            self._guided = GuidedLight(self._divisor, luminance(reduction.pixels), self._height, self._width)

    @property
    def changes_nothing(self) -> bool:
        """Whether the result is the photograph: its divisor is 1 everywhere."""
        return bool((self._divisor == 1).all())

    def divisor(self) -> Array:
        """Returns the divisor of the photograph, without the roll-off of highlights: [h, w] float32."""
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
            out: like the pixels; may be the pixels, even those that were reduced.
            curve: tone curve of its colour space; None for sRGB's: see
                `rave_runtime.photos.colour.tone_curve`.
            threads: how many threads share the rows; the result does not depend on it.
        """
        if self.changes_nothing:
            out[:] = pixels
            return
        chroma = None
        if pixels.shape[2] == 3 and min(self._height, self._width) >= BLOCK_PX:
            chroma = ChromaCorrection(self._image, self._divisor, threads)
        is_compiled = self._is_compiled(pixels, out, curve)
        other = self._other_curve(curve) if is_compiled and curve is not None else None

        def develop_strips(strips: Sequence[tuple[int, int]]) -> None:
            space = Workspace()
            for start, stop in strips:
                strip, target = pixels[start:stop], out[start:stop]
                if is_compiled:
                    self._develop_compiled(strip, target, start, chroma, other, space)
                else:
                    divisor = self._rows(start, stop, space)
                    correction = None if chroma is None else chroma.rows(start, stop)
                    relight_gently(strip, divisor, target, self._look.knee, correction, curve, space)

        share(develop_strips, list(self._strips(_COMPILED_STRIP_PX if is_compiled else _STRIP_PX)), threads)

    def _is_compiled(self, pixels: NDArray[Any], out: NDArray[Any], curve: Array | None) -> bool:
        """Whether compiled passes take these pixels: they must be the very pixels that were reduced.

        With another tone curve, what was reduced is their copy in sRGB's curve, which must have their layout.
        """
        if self._reduction is None or not (compiled.takes(pixels) and compiled.takes(out)):
            return False
        if curve is None:
            return self._reduction.is_of(pixels) and is_wide(pixels) == is_wide(out)
        return compiled.takes(self._image) and is_wide(pixels) == is_wide(out) == is_wide(self._image)

    def _other_curve(self, curve: Array) -> OtherCurve:
        encode, decode = value_tables(curve.tobytes(), np.iinfo(np.uint8).max)
        return OtherCurve(self._image, encode, (decode + np.float32(0.5)).astype(np.uint8))

    def _develop_compiled(
        self,
        pixels: NDArray[Any],
        out: NDArray[Any],
        start: int,
        chroma: ChromaCorrection | None,
        curve: OtherCurve | None,
        space: Workspace,
    ) -> None:
        """Writes some rows of the enhanced photograph by compiled passes, bit for bit as numpy would."""
        stop = start + len(pixels)
        line = self._guided.wide_line(start, stop, np.iinfo(np.uint8).max, space)
        correction = None if chroma is None else chroma.blocks(start, stop)
        if curve is not None:
            curve = curve._replace(guide=curve.guide[start:stop])
        elif correction is not None:
            correction *= np.float32(np.iinfo(np.uint8).max)
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
            correction,
            space,
            curve,
        )

    def _rows(self, start: int, stop: int, space: Workspace) -> Array:
        if self._reduction is None:
            return self._divisor[start:stop]
        return self._guided.rows(start, stop, self._reduction.luminance(start, stop), space)

    def _strips(self, max_px: int) -> Iterator[tuple[int, int]]:
        """Yields each strip's first row and end. Strips begin with a block and are at least a block high."""
        step = max(1, max_px // self._width // BLOCK_PX) * BLOCK_PX
        start = 0
        while start < self._height:
            stop = start + step if start + step + BLOCK_PX <= self._height else self._height
            yield start, stop
            start = stop
