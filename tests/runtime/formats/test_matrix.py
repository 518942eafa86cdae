"""Format by depth by compression by metadata by orientation, compared tag by tag by ExifTool.

ExifTool writes what the inputs say and reads inputs and results, so that neither is what our own code thinks
of them. Each run of it is slow to start, so that one writes all inputs and one reads all files.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms, features

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.formats import usual_ending
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff.strips import LOSSLESS, can_compress
from rave_runtime.photos.tiff.structure import write_tiff
from tests.conftest import Once
from tests.runtime.handmade import png, scene
from tests.runtime.zoo.animal import HAS_DEEP, HAS_HEIF, HAS_JXL, save

EXIFTOOL = shutil.which("exiftool")
ORIENTATIONS = (1, 2, 6)
TIFF_COMPRESSIONS = tuple(
    name for name in ("raw", *LOSSLESS, "jpeg") if name in ("raw", "jpeg") or can_compress(name)
)
WRITTEN = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF", "JXL")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

EXIF = (
    "-IFD0:Make=ACME",
    "-IFD0:Artist=Jürgen Müller",
    "-IFD0:Copyright=© 2020 Jürgen",
    "-IFD0:ImageDescription=A view",
    "-ExifIFD:DateTimeOriginal=2020:01:02 03:04:05",
    "-ExifIFD:ExposureTime=1/60",
    "-ExifIFD:ISO=100",
    "-ExifIFD:FNumber=2.8",
    "-ExifIFD:UserComment=wörds",
    "-ExifIFD:SubjectArea=10 6 8 4",
    "-InteropIFD:InteropIndex=R98",
)
GPS = (
    "-GPS:GPSLatitude=48.5",
    "-GPS:GPSLatitudeRef=N",
    "-GPS:GPSLongitude=9.25",
    "-GPS:GPSLongitudeRef=E",
    "-GPS:GPSDateStamp=2020:01:02",
)
IPTC = ("-IPTC:Caption-Abstract=A view", "-IPTC:Keywords=alps", "-IPTC:Keywords=sunset", "-IPTC:City=Chur")
XMP = (
    "-XMP-dc:Title=Überblick",
    "-XMP-dc:Subject=alps",
    "-XMP-xmp:Rating=4",
    "-XMP-mwg-rs:RegionInfo={AppliedToDimensions={W=32,H=24,Unit=pixel},RegionList=[{Area={X=0.25,Y=0.3,W=0.2,"
    "H=0.3,Unit=normalized},Name=Somebody,Type=Face}]}",
)
METADATA = {"exif": EXIF, "gps": GPS, "all": EXIF + GPS + IPTC + XMP}

LAYOUT = {
    *("StripOffsets", "StripByteCounts", "RowsPerStrip", "JPEGTables", "YCbCrPositioning", "ThumbnailOffset"),
    *("MediaDataSize", "MediaDataOffset", "CompressedBitsPerPixel", "YCbCrSubSampling", "YCbCrCoefficients"),
    *(
        "PreviewImage",
        "PreviewImageStart",
        "PreviewImageLength",
        "WebP_Flags",
        "ReferenceBlackWhite",
        "CurrentIPTCDigest",
        "ExifByteOrder",
        "JFIFVersion",
        "Predictor",
    ),
}
"""Tags that say how a file is built, which is not what it says."""

PLACES = {
    *(
        "SubjectArea",
        "RegionAreaX",
        "RegionAreaY",
        "RegionAreaW",
        "RegionAreaH",
        "RegionAppliedToDimensionsW",
    ),
    *("RegionAppliedToDimensionsH", "RegionInfo"),
}
"""Tags that turn with the picture; `test_regions.py` proves how."""

SIZES = {"ImageWidth", "ImageHeight", "ExifImageWidth", "ExifImageHeight", "ImageSpatialExtent", "ImageSize"}
FOREIGN = {"System", "ExifTool", "File", "Composite", "JFIF"}
"""Groups of tags that are about the file, not of it."""


@dataclass(frozen=True)
class Variant:
    """One kind of input: its format, a name, and what makes it without metadata."""

    format: str
    name: str
    make: Callable[[], bytes]


def pixels_of(channels: int, dtype: Any = np.uint8) -> Any:
    return scene(24, 32, channels, dtype).reshape(24, 32, channels)


def variants() -> list[Variant]:
    found = [
        Variant("JPEG", "rgb", lambda: save(pixels_of(3), "JPEG", icc_profile=PROFILE)),
        Variant("JPEG", "grey", lambda: save(pixels_of(1)[..., 0], "JPEG", progressive=True)),
        Variant("PNG", "rgb", lambda: save(pixels_of(3), "PNG", icc_profile=PROFILE)),
        Variant("PNG", "rgba", lambda: png(pixels_of(4), 6)),
        Variant("PNG", "grey", lambda: png(pixels_of(1)[..., 0], 0)),
        Variant("PNG", "grey16", lambda: png(pixels_of(1, np.uint16)[..., 0], 0, 16)),
        Variant("WEBP", "lossy", lambda: save(pixels_of(3), "WEBP", icc_profile=PROFILE)),
        Variant("WEBP", "lossless", lambda: save(pixels_of(4), "WEBP", lossless=True)),
    ]
    if HAS_DEEP:
        found.append(Variant("PNG", "rgb16", lambda: png(pixels_of(3, np.uint16), 2, 16)))
    if features.check("avif"):
        found.append(Variant("AVIF", "rgb", lambda: save(pixels_of(3), "AVIF", icc_profile=PROFILE)))
    if HAS_HEIF:
        found.append(Variant("HEIF", "rgb", lambda: save(pixels_of(3), "HEIF")))
    for compression in TIFF_COMPRESSIONS:
        for depth, dtype in ((8, np.uint8), (16, np.uint16)):
            for channels, name in ((1, "grey"), (3, "rgb"), (4, "rgba")):
                if compression == "jpeg" and (depth == 16 or channels == 4):
                    continue
                if depth == 16 and channels > 1 and not HAS_DEEP:
                    continue

                def make(
                    compression: str = compression, channels: int = channels, dtype: Any = dtype
                ) -> bytes:
                    predictor = 2 if compression in ("tiff_lzw", "zstd") else 1
                    options = {"compression": compression, "predictor": predictor}
                    return write_tiff(
                        pixels_of(channels, dtype), options, icc_profile=PROFILE, dpi=(300, 300)
                    )

                found.append(Variant("TIFF", f"{compression}-{name}{depth}", make))
    return found


VARIANTS = variants()


@dataclass(frozen=True)
class Case:
    """One input with metadata, and where it lies."""

    variant: Variant
    metadata: str
    orientation: int

    @property
    def stem(self) -> str:
        return f"{self.variant.format}-{self.variant.name}-{self.metadata}-{self.orientation}"

    @property
    def file_name(self) -> str:
        return self.stem + usual_ending(self.variant.format)


ALL = tuple(("all", orientation) for orientation in ORIENTATIONS)
CASES = [
    Case(variant, metadata, orientation)
    for variant in VARIANTS
    for metadata, orientation in (
        (ALL[0], ALL[-1])
        if variant.format == "TIFF" and "raw" not in variant.name  # few, of many variants
        else (("exif", 1), ("gps", 1), *ALL)
    )
]
CONVERTED = [
    case
    for case in CASES
    if case.metadata == "all" and case.orientation == 6 and "-" not in case.variant.name
]


def exiftool(*arguments: str, folder: Path) -> str:
    assert EXIFTOOL is not None
    done = subprocess.run([EXIFTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout or done.returncode == 0, done.stderr[:2000]
    return done.stdout


@pytest.fixture(scope="module")
def tags(once: Once) -> dict[str, dict[str, Any]]:
    """All tags of all inputs and results by file, and the warnings of each result under `warnings`."""
    if EXIFTOOL is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    found: dict[str, dict[str, Any]] = json.loads((once("matrix", write_tags) / "tags.json").read_bytes())
    return found


def write_tags(place: Path) -> None:
    """Makes all files and has them read, which takes ten seconds; see `tags`."""
    (folder := place / "files").mkdir()
    for case in CASES:
        (folder / case.file_name).write_bytes(case.variant.make())
    for metadata, arguments in METADATA.items():
        for orientation in ORIENTATIONS:
            names = [c.file_name for c in CASES if (c.metadata, c.orientation) == (metadata, orientation)]
            if names:
                exiftool(
                    *(
                        "-q",
                        "-m",
                        "-overwrite_original",
                        "-struct",
                        *arguments,
                        f"-IFD0:Orientation#={orientation}",
                    ),
                    *names,
                    folder=folder,
                )
    warnings: dict[str, Any] = {}
    for case in CASES:
        photo = read_photo(folder / case.file_name)
        targets = [case.variant.format, *(WRITTEN if case in CONVERTED else ())]
        for target in dict.fromkeys(targets):
            if (target == "HEIF" and not HAS_HEIF) or (target == "AVIF" and not features.check("avif")):
                continue
            if target == "JXL" and not HAS_JXL:
                continue
            encoded = encode_photo(photo, photo.pixels, target)
            name = f"{case.stem}.to-{target}{usual_ending(target)}"
            (folder / name).write_bytes(encoded.content)
            warnings[name] = [*photo.warnings, *encoded.warnings]
    listing = exiftool("-j", "-G1", "-a", "-struct", "-n", "-api", "largefilesupport=1", ".", folder=folder)
    found = {Path(entry.pop("SourceFile")).name: entry for entry in json.loads(listing)}
    told = {name: {**entry, "warnings": warnings.get(name, [])} for name, entry in found.items()}
    (place / "tags.json").write_text(json.dumps(told))


def told(entry: dict[str, Any]) -> dict[str, Any]:
    """What a file says: its tags without those on how it is built."""
    return {
        name: value
        for name, value in entry.items()
        if ":" in name and name.split(":")[0] not in FOREIGN and name.split(":")[1] not in LAYOUT
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_tag_is_there_as_it_came(case: Case, tags: dict[str, dict[str, Any]]) -> None:
    before = tags[case.file_name]
    after = tags[f"{case.stem}.to-{case.variant.format}{usual_ending(case.variant.format)}"]
    assert after["warnings"] == []
    assert not [value for name, value in after.items() if name.startswith("ExifTool:") and "arning" in name]
    first, second = told(before), told(after)
    if case.variant.format == "AVIF":  # whose container says it
        second = {"IFD0:Orientation": 1, **second}
    assert set(second) == set(first)
    is_turned = case.orientation != 1 and case.variant.format not in ("AVIF", "HEIF")  # which turn by boxes
    changed = {name for name in first if first[name] != second[name]}
    allowed = (
        {name for name in first if name.split(":")[1] in SIZES | PLACES} if case.orientation != 1 else set()
    )
    assert changed - allowed <= {"IFD0:Orientation"}
    if case.orientation != 1:
        assert second.get("IFD0:Orientation", 1) == 1
        if case.metadata == "all":
            assert ("ExifIFD:SubjectArea" in changed) == is_turned
    sizes = [before["File:ImageWidth"], before["File:ImageHeight"]] if "File:ImageWidth" in before else None
    if sizes is not None:
        assert [after["File:ImageWidth"], after["File:ImageHeight"]] == sizes[
            :: -1 if is_turned and case.orientation > 4 else 1
        ]


@pytest.mark.parametrize("target", WRITTEN)
@pytest.mark.parametrize("case", CONVERTED, ids=lambda case: case.stem)
def test_another_format_says_the_same_or_misses_it_aloud(
    target: str, case: Case, tags: dict[str, dict[str, Any]]
) -> None:
    name = f"{case.stem}.to-{target}{usual_ending(target)}"
    if name not in tags:
        pytest.skip(f"{target} cannot be written here")
    before, after = told(tags[case.file_name]), told(tags[name])
    must = {
        tag: value
        for tag, value in before.items()
        if tag.split(":")[0] in ("ExifIFD", "GPS", "XMP-dc", "XMP-xmp", "IPTC", "InteropIFD")
        or tag in ("IFD0:Make", "IFD0:Artist", "IFD0:Copyright", "IFD0:ImageDescription")
    }
    assert len(must) > 12
    said = " ".join(tags[name]["warnings"])
    for tag, value in must.items():
        group, short = tag.split(":")
        if short in PLACES | SIZES:
            assert tag in after, tag
        elif group == "IPTC" and "IPTC captions were left out" in said:
            assert target in ("WEBP", "AVIF", "HEIF", "JXL")
        else:
            assert after.get(tag) == value, tag
    assert after.get("IFD0:Orientation", 1) == 1


def test_the_matrix_covers_what_is_written() -> None:
    assert {variant.format for variant in VARIANTS} >= {"JPEG", "PNG", "TIFF", "WEBP"}
    assert len(CASES) > 100
    assert len(CONVERTED) >= 8
