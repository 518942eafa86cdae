"""The mark that a photograph or film was enhanced: by which version, with which model, and how much.

In photographs it is a description in XMP as ISO 16684-1 has it, in a namespace of this project, so that all
programs that keep XMP keep it:

    <rdf:Description rdf:about="" xmlns:rave="https://github.com/rave-backlit/rave-backlit/ns/1.0/"
        rave:Version="0.1.0" rave:Model="embedded" rave:ModelHash="..." rave:Strength="1"
        rave:Highlights="1"/>

Films say the same in a sentence, since their containers keep a comment better than XMP.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from rave_runtime.photos.metadata.description import add_description
from rave_runtime.photos.metadata.packet import MARK_NAMESPACE, Element, Packet, read_packet
from rave_runtime.photos.metadata.regions import Edits
from rave_runtime.photos.xmp import without_names

_FIELDS: Final = ("rave:Version", "rave:Model", "rave:ModelHash", "rave:Strength", "rave:Highlights")
_OWN: Final = re.compile(
    rb"""<rdf:Description rdf:about=(?:"[^"<>]*"|'[^'<>]*') xmlns:rdf="[^"]*" xmlns:rave="[^"]*" """
    rb"""(?:rave:\w+="[^"]*" ?)+/>"""
)
_WORDS: Final = re.compile(
    r"Enhanced by rave-backlit (\S+) \(model ([^(),]*), hash (\w*), strength (\S+), highlights (\S+)\)"
)


@dataclass(frozen=True)
class Mark:
    """What a photograph says of having been enhanced.

    Attributes:
        version: the version of rave-backlit.
        model: the recipe by which the model was made, such as "embedded"; empty where it is not known.
        model_hash: names the model's graphs, 16 hexadecimal digits.
        strength: how much shaded parts were lifted, as `--strength` says it.
        highlights: how much bright parts were lifted, as `--highlights` says it.
    """

    version: str
    model: str
    model_hash: str
    strength: str
    highlights: str

    def __str__(self) -> str:
        return f"rave-backlit {self.version} at strength {self.strength}"

    def note(self, again: bool) -> str:
        """Returns what a user is told of a picture that has this mark.

        Args:
            again: whether it is enhanced once more, and not left as it is.
        """
        if again:
            return f"was enhanced before, by {self}, and once more now"
        return f"was enhanced before, by {self}, and was left as it is: --again enhances it once more"


def read_mark(xmp: bytes | None) -> Mark | None:
    """Returns the mark in a packet, or None."""
    if xmp is None:
        return None
    packet = read_packet(xmp)
    for element in packet.top.walk():
        fields = packet.fields(element)
        if "rave:Version" in fields:
            texts = (html.unescape(packet.text(fields[name])) if name in fields else "" for name in _FIELDS)
            return Mark(*(_shown(text) for text in texts))
    return None


def mark_xmp(xmp: bytes | None, mark: Mark, limit_bytes: int | None = None) -> bytes | None:
    """Puts a mark into a packet, in the place of an older one; everything else stays as it is.

    Args:
        xmp: a packet; None begins a new one.
        mark: what to say.
        limit_bytes: the most that the packet may have.

    Returns:
        The packet; None where the old one is damaged, or would not fit.
    """
    marked = add_description(xmp, _rest_of(mark), _without_mark)
    if marked is None or read_mark(marked) != mark:  # what looks like the end of RDF may be something else
        return None
    return None if limit_bytes is not None and len(marked) > limit_bytes else marked


def read_words(text: str) -> Mark | None:
    """Returns the mark that a text holds as a sentence, or None."""
    match = _WORDS.search(text)
    return None if match is None else Mark(*(_shown(value) for value in match.groups()))


def with_words(text: str, mark: Mark) -> str:
    """Puts a mark as a sentence behind a text, in the place of an older one."""
    before = _WORDS.sub("", text).rstrip().removesuffix(";")
    model = re.sub(r"[(),]", "_", mark.model)
    sentence = f"Enhanced by rave-backlit {mark.version} (model {model}, hash {mark.model_hash}, "
    sentence += f"strength {mark.strength}, highlights {mark.highlights})"
    return f"{before}; {sentence}" if before else sentence


def _rest_of(mark: Mark) -> str:
    values = (mark.version, mark.model, mark.model_hash, mark.strength, mark.highlights)
    escaped = [html.escape(_shown(value)) for value in values]
    fields = " ".join(f'{name}="{value}"' for name, value in zip(_FIELDS, escaped, strict=True))
    return f'xmlns:rave="{MARK_NAMESPACE}" {fields}/>'


def _without_mark(packet: Packet, element: Element) -> Edits:
    """Returns the changes that take a mark out: the whole description where it is as it was written here."""
    if _OWN.fullmatch(packet.content, element.whole.start, max(0, element.whole.stop)):
        return {element.whole: b""}
    return without_names(element, _FIELDS)


def _shown(text: str) -> str:
    """Returns a text from a file as it may be shown: short, and on one line."""
    return "".join(letter for letter in text if letter.isprintable())[:100]
