"""An XMP packet as a tree of places: where its elements, attributes and values stand, byte by byte.

Packets come from anywhere, so expat reads them under limits of size, number and depth; document types, and
with them entities, cannot occur. Changes are made to the bytes at the places found, so that all else in a
packet stays as it is. Every step is linear in the packet's length.

Source: ISO 16684-1 (XMP); W3C XML 1.0.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from xml.parsers import expat

_MAX_BYTES: Final = 16 << 20
_MAX_PARTS: Final = 200_000
_MAX_KEPT: Final = 40_000
_MAX_DEPTH: Final = 50
"""Limits of a packet: elements and attributes, elements that matter here, and elements in one another."""

_ROOT: Final = b"<_>"
_ATTRIBUTE: Final = re.compile(rb"""\s*+([^\s=/>"']++)\s*+=\s*+("[^"]*+"|'[^']*+')""")
_NAME: Final = re.compile(rb"<[^\s/>]++")
_DECLARATION: Final = re.compile(rb"\s*+(?:\xef\xbb\xbf)?\s*+<\?xml\s[^>]*+>")

MARK_NAMESPACE: Final = "https://github.com/rave-backlit/rave-backlit/ns/1.0/"
"""The namespace of `rave_runtime.photos.metadata.mark`."""

_NAMESPACES: Final[Mapping[str, str]] = {
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xmp/note/": "xmpNote",
    "http://ns.adobe.com/hdr-gain-map/1.0/": "hdrgm",
    "http://purl.org/dc/terms/": "dcterms",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://ns.google.com/photos/1.0/container/": "Container",
    "http://ns.google.com/photos/1.0/container/item/": "Item",
    "http://ns.google.com/photos/dd/1.0/container/": "Container",
    "http://ns.google.com/photos/dd/1.0/item/": "Item",
    "http://ns.google.com/photos/dd/1.0/device/": "Device",
    "http://ns.google.com/photos/1.0/depthmap/": "GDepth",
    "http://ns.google.com/photos/1.0/image/": "GImage",
    "http://ns.google.com/photos/1.0/audio/": "GAudio",
    "http://ns.google.com/photos/1.0/panorama/": "GPano",
    "http://www.metadataworkinggroup.com/schemas/regions/": "mwg-rs",
    "http://ns.adobe.com/xmp/sType/Area#": "stArea",
    "http://ns.adobe.com/xap/1.0/sType/Dimensions#": "stDim",
    "http://ns.acdsee.com/regions/": "mwg-rs",
    "http://ns.acdsee.com/sType/Area#": "stArea",
    "http://ns.acdsee.com/sType/Dimensions#": "stDim",
    "http://ns.microsoft.com/photo/1.2/t/Region#": "MPReg",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    MARK_NAMESPACE: "rave",
}
"""The namespaces that matter here, and one prefix for each, whatever a packet calls them."""

_OF_OTHERS: Final = ("xmpMM:Pantry", "xmp:Thumbnails")
"""Elements that speak of other pictures, so that nothing inside them matters here."""

_WIDE: Final = {
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
"""First bytes of packets in encodings that do not hold ASCII as it is."""

_USUAL: Final[Mapping[str, str]] = {prefix: prefix for prefix in _NAMESPACES.values()} | {
    "xap": "xmp",
    "Camera": "GCamera",
}
"""Prefixes that count although a packet does not declare them."""


class Span(NamedTuple):
    """A stretch of a packet, from `start` up to `stop`, in bytes."""

    start: int
    stop: int


@dataclass
class Element:
    """One element.

    Attributes:
        name: prefix and name, such as `tiff:Orientation`; empty for a namespace that does not matter here.
        whole: the element from its `<` to its last `>`; it stops before it starts where it has no end.
        inner: what stands between its two tags.
        attributes: spans of the values of attributes, without quotes.
        declared: spans of those attributes as a whole, with the blanks before them.
        children: elements inside that matter, or that hold such.
    """

    name: str
    whole: Span
    inner: Span
    attributes: dict[str, Span] = field(default_factory=dict)
    declared: dict[str, Span] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """Yields the element and all below it, in their order."""
        to_visit = [self]
        while to_visit:
            element = to_visit.pop()
            yield element
            to_visit += reversed(element.children)


class Packet(NamedTuple):
    """A packet that was read.

    Attributes:
        content: its bytes, as UTF-8 where its encoding does not hold ASCII as it is.
        top: an element that holds all others.
        is_whole: whether it was read to its end; else it is damaged, or larger than any photograph's.
        encoding: its encoding, where the content has another one.
    """

    content: bytes
    top: Element
    is_whole: bool
    encoding: str | None = None

    def text(self, span: Span) -> str:
        """Returns what stands at a place, without blanks around it."""
        return self.content[span.start : span.stop].decode("latin-1").strip()

    def trimmed(self, span: Span) -> Span:
        """Returns a place without the blanks around what stands there."""
        data = self.content[span.start : span.stop]
        start = span.stop - len(data.lstrip())
        return Span(start, max(start, span.start + len(data.rstrip())))

    def fields(self, element: Element) -> dict[str, Span]:
        """Returns the simple values of a structure, whether they are attributes or elements."""
        below = {child.name: child.inner for child in element.children if child.name and not child.children}
        return {name: self.trimmed(span) for name, span in (below | element.attributes).items()}

    def places(self, element: Element, name: str) -> list[Span]:
        """Returns where a structure has simple values of that name: an attribute, elements, or both."""
        below = [child.inner for child in element.children if child.name == name and not child.children]
        return [element.attributes[name], *below] if name in element.attributes else below

    def with_edits(self, edits: Mapping[Span, bytes]) -> bytes:
        """Returns the packet, in its encoding, with other bytes at those places; the outer of nested ones."""
        pieces, position = [], 0
        for span in sorted(edits, key=lambda each: (each.start, -each.stop)):
            if span.start >= position:
                pieces += [self.content[position : span.start], edits[span]]
                position = span.stop
        content = b"".join([*pieces, self.content[position:]])
        return content if self.encoding is None else content.decode().encode(self.encoding)


@functools.lru_cache(maxsize=4)
def read_packet(content: bytes, more_namespaces: tuple[tuple[str, str], ...] = ()) -> Packet:
    """Reads an XMP packet as far as it is XML. The last packets are cached, since they are asked for again.

    Args:
        content: the packet.
        more_namespaces: further namespaces that matter to the caller, each with a prefix for it.
    """
    encoding = next((name for mark, name in _WIDE.items() if content.startswith(mark)), None)
    try:
        content = content if encoding is None else content.decode(encoding).encode()
    except UnicodeError:
        encoding = None
    reader = _Reader(content, {**_NAMESPACES, **dict(more_namespaces)})
    body = content.rstrip(b"\0")
    if declaration := _DECLARATION.match(body):
        body = bytes(declaration.end()).replace(b"\0", b" ") + body[declaration.end() :]
    is_whole = len(content) <= _MAX_BYTES and reader.read(body)
    return Packet(content, reader.top, is_whole, encoding)


class _TooLargeError(Exception):
    """A packet holds more than any photograph's."""


class _Reader:
    """Builds the tree while expat goes through a packet."""

    def __init__(self, content: bytes, namespaces: Mapping[str, str]) -> None:
        self._namespaces = namespaces
        self._content = content
        whole = Span(0, len(content))
        self.top = Element("", whole, whole)
        self._open: list[Element] = []
        self._scopes: list[dict[str, str] | None] = []
        self._matter_count = 0
        self._part_count = self._kept_count = 0
        self._parser = expat.ParserCreate("iso-8859-1")  # an encoding in which every byte is valid
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def read(self, body: bytes) -> bool:
        try:
            self._parser.Parse(_ROOT + body + b"</_>", True)
        except (expat.ExpatError, _TooLargeError):
            self._leave_open()
            return False
        return True

    def _leave_open(self) -> None:
        """Puts elements without an end where they belong: their attributes are known, the rest is not."""
        while self._open:
            element = self._open.pop()
            element.inner = Span(element.inner.start, element.inner.start)
            (self._open[-1] if self._open else self.top).children.append(element)

    def _start(self, _name: str, _attributes: list[str]) -> None:
        """Opens an element at a start tag: its name, its attributes and where they lie in the packet."""
        start = self._parser.CurrentByteIndex - len(_ROOT)
        if start < 0:
            return
        self._count()
        if len(self._open) >= _MAX_DEPTH:
            raise _TooLargeError
        tag = _NAME.match(self._content, start)
        position = tag.end() if tag else start
        scope: dict[str, str] | None = None
        attributes = []
        while attribute := _ATTRIBUTE.match(self._content, position):
            value = Span(attribute.start(2) + 1, attribute.end(2) - 1)
            name = attribute[1].decode("latin-1")
            if name.startswith("xmlns:"):
                uri = self._content[value.start : value.stop].decode("latin-1")
                scope = scope or {}
                scope[name[6:]] = self._namespaces.get(uri, "")
            else:
                attributes.append((name, value, Span(position, attribute.end())))
            self._count()
            position = attribute.end()
        self._scopes.append(scope)
        inner = self._content.find(b">", position) + 1 or len(self._content)
        element = Element(
            self._resolve(tag[0][1:].decode("latin-1") if tag else ""), Span(start, -1), Span(inner, -1)
        )
        for name, value, declared in attributes:
            if resolved_name := self._resolve(name):
                element.attributes[resolved_name], element.declared[resolved_name] = value, declared
        self._open.append(element)
        self._matter_count += _matters(element)

    def _end(self, _name: str) -> None:
        """Closes the innermost element; keeps it if it, or something inside, matters to this program."""
        if not self._open:
            return
        at = self._parser.CurrentByteIndex - len(_ROOT)
        element = self._open.pop()
        self._scopes.pop()
        is_kept = self._matter_count > 0 or element.children
        self._matter_count -= _matters(element)
        is_single = self._content.startswith(b"/>", element.inner.start - 2)  # expat is at its end here
        stop = element.inner.start if is_single else self._content.find(b">", at) + 1 or len(self._content)
        element.inner = Span(element.inner.start, element.inner.start if is_single else at)
        element.whole = Span(element.whole.start, stop)
        if element.name in _OF_OTHERS:
            element.children.clear()
        if is_kept:
            self._kept_count += 1
            if self._kept_count > _MAX_KEPT:
                raise _TooLargeError
            (self._open[-1] if self._open else self.top).children.append(element)

    def _count(self) -> None:
        self._part_count += 1
        if self._part_count > _MAX_PARTS:
            raise _TooLargeError

    def _resolve(self, name: str) -> str:
        prefix, colon, local = name.partition(":")
        if not colon:
            return ""
        for scope in reversed(self._scopes):
            if scope is not None and prefix in scope:
                return f"{scope[prefix]}:{local}" if scope[prefix] else ""
        return f"{_USUAL[prefix]}:{local}" if prefix in _USUAL else ""


def _matters(element: Element) -> bool:
    return any(name and not name.startswith("rdf:") for name in (element.name, *element.attributes))
