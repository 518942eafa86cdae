"""The colour space that a JPEG XL states by numbers, as its header has it.

Source: ISO/IEC 18181-1:2024, annex E (colour encoding). Primaries and transfer functions have the numbers of
ITU-T H.273.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rave_runtime.errors import PhotoError
from rave_runtime.photos.headers.bits import LowBitReader
from rave_runtime.photos.headers.colour_codes import (
    NAMES,
    PRIMARIES,
    SRGB,
    SRGB_TRANSFER,
    TRANSFERS,
    Chromaticities,
    Curve,
    make_profile,
    refuse_hdr,
)

LINEAR: Final = 8
"""The number of linear light among the transfer functions."""

_GREY, _CODEC = 1, 2
"""Kinds of colour spaces besides RGB: one channel, and the codec's own colours."""

_CUSTOM: Final = 2
_ENUM: Final = ((0, 0), (1, 0), (2, 4), (18, 6))
_CUSTOM_XY: Final = ((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
_WHITES: Final = {1: SRGB[6:], 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_DCI_GAMMA: Final = 17


class JxlColours(NamedTuple):
    """The colour space of a JPEG XL.

    Attributes:
        has_profile: whether the file holds an ICC profile instead of numbers.
        chromaticities: of the primaries and of white.
        transfer: the number of the transfer function.
        encoding_exponent: the exponent that encodes light, where a power is stated instead of a number.
        transfer_bit: where in the codestream, behind its signature, the transfer function's number begins, in
            bits; None where it is not stated by its number.
    """

    has_profile: bool = False
    chromaticities: Chromaticities = SRGB
    transfer: int = SRGB_TRANSFER
    encoding_exponent: float | None = None
    transfer_bit: int | None = None

    def profile(self, *, grey: bool) -> bytes | None:
        """Returns the same as an ICC profile; None is sRGB.

        Raises:
            PhotoError: it is PQ, HLG, or another space that no photograph has.
        """
        refuse_hdr(self.transfer)
        is_srgb_curve = self.encoding_exponent is None and self.transfer == SRGB_TRANSFER
        if is_srgb_curve and (grey or self.chromaticities == SRGB):
            return None
        if self.encoding_exponent is not None and self.encoding_exponent > 0:
            curve = Curve(1 / self.encoding_exponent)
        elif self.transfer == _DCI_GAMMA:
            curve = Curve(2.6)
        elif self.transfer in TRANSFERS:
            curve = TRANSFERS[self.transfer]
        else:
            raise PhotoError(
                f"states its colours by a number that is not known here (transfer {self.transfer}): "
                "export it in Display P3 or sRGB"
            )
        numbers = [number for number, space in PRIMARIES.items() if space == self.chromaticities]
        name = NAMES.get(numbers[0], "Stated by numbers") if numbers else "Stated by primaries"
        try:
            return make_profile(
                name if is_srgb_curve else f"{name}, other curve", self.chromaticities, curve, grey=grey
            )
        except (ValueError, OverflowError) as error:
            raise PhotoError(
                "states primaries that make no sense: export it in Display P3 or sRGB"
            ) from error


SRGB_COLOURS: Final = JxlColours()


def read_colours(bits: LowBitReader) -> JxlColours:
    """Reads the colour encoding from a header.

    Raises:
        EOFError: the header ends before it does.
    """
    if bits.read():
        return SRGB_COLOURS
    has_profile, kind = bool(bits.read()), bits.choose(*_ENUM)
    if has_profile:
        return JxlColours(has_profile=True)
    white, primaries = SRGB[6:], SRGB[:6]
    if kind != _CODEC:
        number = bits.choose(*_ENUM)
        white = _read_xy(bits) if number == _CUSTOM else _WHITES.get(number, white)
    if kind not in (_CODEC, _GREY):
        number = bits.choose(*_ENUM)
        if number == _CUSTOM:
            primaries = (*_read_xy(bits), *_read_xy(bits), *_read_xy(bits))
        elif number in PRIMARIES:
            primaries = PRIMARIES[number][:6]
    exponent, transfer, place = None, SRGB_TRANSFER, None
    if kind == _CODEC:
        pass
    elif bits.read():
        exponent = bits.read(24) / 1e7
    else:
        place = bits.position
        transfer = bits.choose(*_ENUM)
    return JxlColours(False, (*primaries, *white), transfer, exponent, place)


def _read_xy(bits: LowBitReader) -> tuple[float, float]:
    x, y = (_signed(bits.choose(*_CUSTOM_XY)) / 1e6 for _ in range(2))
    return x, y


def _signed(number: int) -> int:
    """Numbers with a sign are stored as 0, -1, 1, -2, 2 and so on."""
    return -(number + 1) // 2 if number % 2 else number // 2
