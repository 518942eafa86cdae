"""What a user should know where a result is coded in another way than its photograph of the same format."""

from __future__ import annotations

from rave_runtime.arrays import Pixels
from rave_runtime.photos.codecs.odd_sampling import keeps_odd_sampling
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.tiff.strips import written_compression


def note_on_coding(photo: Photo, pixels: Pixels, quality: int | None) -> tuple[str, ...]:
    """Returns a sentence on how a result in the photograph's own format is coded in another way; or none.

    Args:
        photo: the photograph.
        pixels: what is written, [h, w, 1 to 4], with alpha last.
        quality: the quality that was asked for; None keeps the photograph's.
    """
    options = photo.save_options
    if photo.format == "TIFF":
        old_compression = options.get("compression") or "raw"
        if written_compression(pixels, options) != old_compression:
            return (f"its compression ({old_compression}) was replaced by Deflate, which loses nothing",)
    elif photo.format == "AVIF" and quality is None and options.get("lossless"):
        return ("it was lossless, and AVIF is written lossy: --format png loses nothing",)
    elif photo.format == "JPEG" and "sampling" in options:
        written = {1: "4:2:2", 2: "4:2:0"}.get(options["subsampling"], "4:4:4")
        if quality is not None or not keeps_odd_sampling(options):
            return (f"its colour is sampled as {written} now: {options['sampling']} cannot be written here",)
    return ()
