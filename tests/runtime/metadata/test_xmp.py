# ruff: noqa: E501
"""XMP: which words are corrected, and which pictures are promised no more."""

from __future__ import annotations

import pytest

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of
from rave_runtime.photos.metadata.containers import gif_xmp
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import (
    further_pictures,
    orientation_in_xmp,
    upright_xmp,
)
from tests.runtime.handmade import exif, inner_exif, jpeg_with, scene
from tests.runtime.metadata.packets import NAMES, SEGMENT, packet
from tests.runtime.zoo.animal import save


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_packets_in_any_encoding_are_corrected(encoding: str) -> None:
    text = packet("<dc:title>Grüße aus Köln</dc:title>", " tiff:Orientation='6'").decode()
    after = upright_xmp(text.encode(encoding), 30, 40, 6)
    assert after is not None
    assert after.decode(encoding) == text.replace("'6'", "'1'")
    assert orientation_in_xmp(text.encode(encoding)) == 6


def test_other_prefixes_and_an_xml_declaration_are_understood() -> None:
    names = {("t" if prefix == "tiff" else prefix): uri for prefix, uri in NAMES.items()}
    content = (
        b'<?xml version="1.0" encoding="UTF-8"?>' + packet("", " t:Orientation='8'", names).split(b"?>", 1)[1]
    )
    assert orientation_in_xmp(content) == 8
    foreign = {**NAMES, "tiff": "http://example.com/other/"}
    assert orientation_in_xmp(packet("", " tiff:Orientation='8'", foreign)) is None


def item(semantic: str, form: str) -> str:
    if form == "attributes":
        return f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Length="9"/></rdf:li>'
    if form == "elements":  # as ExifTool writes it
        return (
            "<rdf:li rdf:parseType='Resource'>\n <Container:Item rdf:parseType='Resource'>\n  <Item:Length>9</Item:Length>"
            f"\n  <Item:Semantic>{semantic}</Item:Semantic>\n </Container:Item>\n</rdf:li>"
        )
    return f"<rdf:li><rdf:Description><Container:Item><rdf:Description Item:Semantic='{semantic}'/></Container:Item></rdf:Description></rdf:li>"


@pytest.mark.parametrize("semantic", ["GainMap", "MotionPhoto", "Depth", "ConfidenceMap", "Original"])
@pytest.mark.parametrize("form", ["attributes", "elements", "descriptions"])
def test_lists_of_pictures_promise_nothing_that_is_gone(form: str, semantic: str) -> None:
    def directory(*semantics: str) -> bytes:
        entries = "".join(item(each, form) for each in semantics)
        return packet(f"<Container:Directory><rdf:Seq>{entries}</rdf:Seq></Container:Directory>")

    content = directory("Primary", semantic)
    assert further_pictures(content) == (semantic,)
    assert upright_xmp(content, 56, 40) == directory("Primary")
    assert further_pictures(upright_xmp(content, 56, 40)) == ()


@pytest.mark.parametrize("form", ["attribute", "element"])
def test_gain_maps_and_credentials_are_promised_no_more(form: str) -> None:
    promises = {"hdrgm:Version": "1.0", "dcterms:provenance": "self#jumbf=c2pa/urn:uuid:1"}
    if form == "attribute":
        content = packet("", "".join(f' {name}="{value}"' for name, value in promises.items()))
    else:
        content = packet("".join(f"<{name}>{value}</{name}>" for name, value in promises.items()))
    assert upright_xmp(content, 56, 40) == packet("")
    elsewhere = packet("", ' dcterms:provenance="https://example.com/manifest"')
    assert upright_xmp(elsewhere, 56, 40) == elsewhere


def test_other_pictures_inside_a_packet_stay_as_they_are() -> None:
    pantry = "<xmpMM:Pantry><rdf:Bag><rdf:li tiff:Orientation='6' exif:PixelXDimension='9'/></rdf:Bag></xmpMM:Pantry>"
    content = packet(pantry, " tiff:Orientation='6'")
    assert orientation_in_xmp(content) == 6
    assert upright_xmp(content, 30, 40, 6) == packet(pantry, " tiff:Orientation='1'")
    assert orientation_in_xmp(packet(pantry)) is None


def test_a_second_packet_that_has_no_place_is_missed_aloud() -> None:
    main = packet("", ' xmpNote:HasExtendedXMP="0123" GDepth:Mime="image/png"')
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<depth/>"
    photo = read_photo(jpeg_with(save(scene(), "JPEG"), (0xE1, SEGMENT + main), (0xE1, extension)))
    kept = encode_photo(photo, photo.pixels, "JPEG")
    assert (extension in kept.content, kept.warnings) == (True, ())
    for name in ("PNG", "TIFF", "WEBP"):
        encoded = encode_photo(photo, photo.pixels, name)
        assert encoded.warnings == ("its extended XMP was left out: only JPEG to JPEG keeps it",)
        assert read_photo(encoded.content).xmp == packet("")


def test_a_second_packet_is_not_turned_and_goes_with_a_word() -> None:
    main = packet("", ' tiff:Orientation="6" xmpNote:HasExtendedXMP="0123" GDepth:Mime="image/png"')
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<depth/>"
    photo = read_photo(jpeg_with(save(scene(), "JPEG"), (0xE1, SEGMENT + main), (0xE1, extension)))
    assert photo.warnings == ("its extended XMP was left out: it cannot be turned with the picture",)
    for name in ("JPEG", "PNG"):
        encoded = encode_photo(photo, photo.pixels, name)
        assert extension not in encoded.content
        assert encoded.warnings == ()
        assert read_photo(encoded.content).xmp == packet("", ' tiff:Orientation="1"')


def test_metadata_of_a_picture_without_xmp_stays_none() -> None:
    photo = Photo(scene(), "PNG")
    assert photo.xmp is None
    assert further_pictures(None) == ()
    block = exif({0x0112: (3, 1)}, inner=inner_exif(56, 40, b"note", 8 + 2 + 12 * 2 + 4))
    assert orientation_of(block, None) == 1


def gif_with(xmp: bytes, trailer: bytes) -> bytes:
    """A GIF with a packet in front of its picture, as Adobe's programs and ExifTool write it."""
    gif = save(scene(), "GIF")
    place = 13 + 3 * (2 << (gif[10] & 7)) * (gif[10] >> 7)
    return gif[:place] + b"\x21\xff\x0bXMP DataXMP" + xmp + trailer + gif[place:]


GIF_TRAILER = bytes((1, *range(255, -1, -1), 0))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_the_packet_of_a_gif_goes_into_its_result(format: str) -> None:
    """It was lost without a word, although the table of formats says that it is kept."""
    xmp = packet("<dc:title>Grüße aus Köln</dc:title>", " xmp:Rating='4'")
    photo = read_photo(gif_with(xmp, GIF_TRAILER))
    assert (photo.xmp, photo.warnings) == (xmp, ())
    assert read_photo(encode_photo(photo, photo.pixels, format).content).xmp == xmp


def test_a_packet_of_a_gif_without_its_end_counts_as_absent() -> None:
    assert gif_xmp(gif_with(b"<x/>", GIF_TRAILER[:-1])) == b"<x/>"
    assert gif_xmp(gif_with(b"<x/>", b"\1\xff\0")) is None
    assert gif_xmp(gif_with(b"", GIF_TRAILER)) is None
    assert gif_xmp(GIF_TRAILER + save(scene(), "GIF")) is None
