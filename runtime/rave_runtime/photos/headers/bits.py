"""Bits of a header, read one field after the other."""

from __future__ import annotations


class BitReader:
    """Reads bits from the highest of the first byte on.

    Raises:
        EOFError: raised by every method where the bytes end before the field does.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def read(self, count: int = 1) -> int:
        """Reads a number of that many bits."""
        stop = self._position + count
        if stop > 8 * len(self._content):
            raise EOFError
        first, last = self._position // 8, (stop + 7) // 8
        number = int.from_bytes(self._content[first:last], "big") >> (8 * last - stop)
        self._position = stop
        return number & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        """Leaves out that many bits."""
        self._position += count
        if self._position > 8 * len(self._content):
            raise EOFError

    def read_exp_golomb(self) -> int:
        """Reads an unsigned number in Exp-Golomb code, as HEVC has them (`ue(v)`)."""
        zeros = 0
        while not self.read():
            zeros += 1
            if zeros > 32:
                raise EOFError
        return (1 << zeros) - 1 + self.read(zeros)

    def read_signed_exp_golomb(self) -> int:
        """Reads a signed number in Exp-Golomb code (`se(v)`)."""
        number = self.read_exp_golomb()
        return (number + 1) // 2 if number % 2 else -(number // 2)


class LowBitReader:
    """Reads bits from the lowest of the first byte on, as JPEG XL stores them.

    Attributes:
        position: how many bits were read.

    Raises:
        EOFError: raised by every method where the bytes end before the field does.
    """

    def __init__(self, content: bytes) -> None:
        self._number = int.from_bytes(content, "little")
        self._length = 8 * len(content)
        self.position = 0

    def read(self, count: int = 1) -> int:
        """Reads a number of that many bits."""
        if self.position + count > self._length:
            raise EOFError
        value = (self._number >> self.position) & ((1 << count) - 1)
        self.position += count
        return value

    def choose(self, *ways: tuple[int, int]) -> int:
        """Reads a selector of two bits and the number in the way it selects: what is added, and bits."""
        start, bits = ways[self.read(2)]
        return start + self.read(bits)
