"""How places in a picture move when it is turned as its orientation says."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle by its upper left corner and its sides."""

    left: float
    top: float
    width: float
    height: float


class Turn(NamedTuple):
    """The turn that makes a stored picture upright.

    Attributes:
        orientation: EXIF's number from 1 to 8; 1 is upright.
        width: the width of the stored picture, in the unit of the places.
        height: the height of the stored picture, in the same unit.
    """

    orientation: int
    width: float
    height: float

    @property
    def swaps_sides(self) -> bool:
        """Tells whether width and height change places."""
        return self.orientation >= 5

    def sized(self, width: float, height: float) -> Turn:
        """Returns the same turn of a stored picture of another size or unit."""
        return Turn(self.orientation, width, height)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Returns where a point of the stored picture lies in the upright one.

        Source: Exif 3.0, tag 274.
        """
        right, below = self.width - x, self.height - y
        places = {
            2: (right, y),
            3: (right, below),
            4: (x, below),
            5: (y, x),
            6: (below, x),
            7: (below, right),
            8: (y, right),
        }
        return places.get(self.orientation, (x, y))

    def sides(self, width: float, height: float) -> tuple[float, float]:
        """Returns the sides of a rectangle after the turn."""
        return (height, width) if self.swaps_sides else (width, height)

    def box(self, box: Box) -> Box:
        """Returns where a rectangle of the stored picture lies in the upright one."""
        x, y = self.point(box.left + box.width / 2, box.top + box.height / 2)
        width, height = self.sides(box.width, box.height)
        return Box(x - width / 2, y - height / 2, width, height)


def stored_size(orientation: int, width: int, height: int) -> Turn:
    """Returns the turn that led to an upright picture of that size in pixels."""
    return Turn(orientation, *((height, width) if orientation >= 5 else (width, height)))
