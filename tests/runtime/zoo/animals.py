"""Every file of the zoo: hostile and odd photographs, made on the spot, each with what must become of it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.runtime.zoo.animal import Animal
from tests.runtime.zoo.damaged import no_pictures, odd_names, truncated
from tests.runtime.zoo.jpeg import jpegs
from tests.runtime.zoo.other import others
from tests.runtime.zoo.png import pngs
from tests.runtime.zoo.tiff import tiffs


def animals() -> Iterator[Animal]:
    yield from jpegs()
    yield from pngs()
    yield from tiffs()
    yield from others()
    yield from truncated()
    yield from no_pictures()
    yield from odd_names()
