"""Putting this program's descriptions into XMP packets, beside what other programs wrote there.

Source: ISO 16684-1: a packet may hold several descriptions of one subject, which `rdf:about` names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rave_runtime.photos.metadata.packet import Element, Packet, Span, read_packet
from rave_runtime.photos.metadata.regions import Edits

RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_END: Final = re.compile(rb"</(?:[\w.-]+:)?RDF\s*>")
_ABOUT: Final = re.compile(
    rb"""<(?:[\w.-]+:)?Description\s[^>]*?\b(?:[\w.-]+:)?about=("[^"<>]*"|'[^'<>]*')"""
)
_EMPTY: Final = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="' + RDF.encode() + b'"></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)
"""A packet that says nothing."""


def add_description(
    xmp: bytes | None, rest: str, without: Callable[[Packet, Element], Edits] = lambda *_: {}
) -> bytes | None:
    """Puts a description into a packet; everything else stays as it is.

    Args:
        xmp: a packet; None begins a new one.
        rest: the description behind `rdf:about`: attributes, and either `/>` or children and the end tag.
        without: returns the changes to an element that take an older description out.

    Returns:
        The packet, in its encoding; None where the old one is damaged.
    """
    packet = read_packet(_EMPTY if xmp is None else xmp)
    ends = list(_END.finditer(packet.content))
    if not packet.is_whole or not ends:
        return None
    edits: Edits = {}
    for element in packet.top.walk():
        edits |= without(packet, element)
    about = _ABOUT.search(packet.content)
    description = b"<rdf:Description rdf:about=" + (about[1] if about else b'""') + b" "
    description += f'xmlns:rdf="{RDF}" {rest}'.encode("ascii", "xmlcharrefreplace")
    return packet.with_edits(edits | {Span(ends[-1].start(), ends[-1].start()): description})
