"""The report of a run: a page with before and after under a slider, timings and failures, in one file."""

from __future__ import annotations

import base64
import html
import io
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rave_runtime.backends.devices import Setup
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.location import Location
from rave_runtime.files.secrets import without_secrets
from rave_runtime.photos.codecs.opening import read_by_codec
from rave_runtime.photos.decoders import decoding, open_picture
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS, Photo
from rave_runtime.photos.reading import read_file
from rave_runtime.run.results import Result

if TYPE_CHECKING:
    from rave_runtime.run.options import RunOptions

PREVIEW_PX: Final = 720
"""Longest side of the pictures in the page; the full ones are loaded from their files."""

MAX_PREVIEWS: Final = 200
"""Photographs shown with pictures; further ones are in the table only, so that the page stays usable."""

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>
:root {{ --back: #f6f4f1; --ink: #22201d; --quiet: #6d6760; --line: #ddd7cf; --accent: #a85c0c;
  --bad: #b3261e;
  --stage: #e9e5df }}
@media (prefers-color-scheme: dark) {{ :root {{ --back: #161514; --ink: #ece8e3; --quiet: #a09990;
  --line: #38342f;
  --accent: #e9a552; --bad: #ff9b8e; --stage: #0d0c0b }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem;
  background: var(--back); color: var(--ink) }}
h1 {{ font-size: 1.3rem; margin: 0 }} .facts, figcaption {{ color: var(--quiet) }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr));
  gap: 1.4rem 1.2rem }}
figure {{ margin: 0 }}
figcaption {{ display: flex; gap: .8rem; justify-content: space-between; align-items: start;
  padding-top: .3rem;
  overflow-wrap: anywhere }}
.stage {{ aspect-ratio: 3 / 2; display: grid; place-items: center; background: var(--stage);
  border-radius: 8px;
  overflow: hidden; container-type: size }}
.pair {{ position: relative; overflow: hidden; --cut: 50%; width: min(100cqw, 100cqh * var(--shape)) }}
.pair img {{ display: block; width: 100% }}
.pair .after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)) }}
.pair::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: calc(var(--cut) - 1px);
  width: 2px;
  background: #fffd; box-shadow: 0 0 3px #0008; pointer-events: none }}
.pair input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize }}
.pair:has(:focus-visible) {{ outline: 3px solid var(--accent) }}
.pair span {{ position: absolute; top: .5rem; padding: 0 .55rem; border-radius: 99px; font-size: .78rem;
  color: #fff;
  background: #000a; pointer-events: none }}
.pair .left {{ left: .5rem }} .pair .right {{ right: .5rem }}
button {{ font: inherit; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 6px;
  padding: .2rem .7rem; cursor: pointer; white-space: nowrap }}
button:hover {{ border-color: var(--accent) }}
dialog {{ width: 100vw; height: 100vh; max-width: none; max-height: none; margin: 0; padding: 0; border: 0;
  background: var(--stage) }}
dialog[open] {{ display: grid; place-items: safe center }}
dialog .pair {{ width: max-content; margin: auto }} dialog .pair img {{ width: auto }}
dialog .pair .after {{ width: 100%; height: 100% }}
dialog button {{ position: fixed; top: .8rem; right: 1.4rem; background: #000a; color: #fff; border: 0;
  z-index: 1 }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; margin-top: 2rem }}
td, th {{ text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap }}
td:first-child, td:last-child {{ overflow-wrap: anywhere; white-space: normal }}
.failed {{ color: var(--bad) }}
</style></head><body><main>
<h1>{title}</h1><p class="facts">{facts}</p>
<div class="grid">{figures}</div>
<div class="wide" tabindex="0">
<table><thead><tr><th>photograph</th><th>status</th><th>size</th><th>backlit</th><th>seconds</th>
<th>notes</th></tr>
</thead><tbody>{rows}</tbody></table></div>
</main><dialog><button autofocus>Close</button></dialog>
<script>
function move(event) {{
  event.target.parentElement.style.setProperty("--cut", event.target.value + "%");
}}
const box = document.querySelector("dialog");
for (const slider of document.querySelectorAll(".pair input")) slider.addEventListener("input", move);
for (const button of document.querySelectorAll("figure button")) button.addEventListener("click", () => {{
  const pair = button.closest("figure").querySelector(".pair").cloneNode(true);
  for (const image of pair.querySelectorAll("img")) {{
    const preview = image.src;
    image.style.width = image.className === "after" ? "" : image.dataset.width + "px";
    image.onerror = () => {{ image.onerror = null; image.src = preview; }};
    if (image.dataset.file) image.src = image.dataset.file;
  }}
  pair.querySelector("input").addEventListener("input", move);
  box.replaceChildren(box.firstElementChild, pair);
  box.showModal();
  box.scrollTo((box.scrollWidth - box.clientWidth) / 2, (box.scrollHeight - box.clientHeight) / 2);
}});
box.firstElementChild.addEventListener("click", () => box.close());
</script></body></html>
"""


def write_report(file: Path, results: list[Result], setup: Setup, options: RunOptions | None = None) -> None:
    """Writes the report of a run.

    Args:
        file: the `.html` file to write.
        results: the results, in the order to show them.
        setup: the device, precision and working size that made them.
        options: the options of the run, whose strength and model are shown; None shows neither.

    Raises:
        PhotoError: the page cannot be written.
    """
    count = Counter(result.status for result in results)
    before_count = sum(result.status == "copied" and result.enhanced_before for result in results)
    not_backlit_count = count["copied"] - before_count
    facts = [
        f"{count['done']} enhanced",
        *([f"{not_backlit_count} left as is (not backlit)"] if not_backlit_count else []),
        *([f"{before_count} left as is (enhanced before)"] if before_count else []),
        f"{count['failed']} failed",
        *([f"{count['skipped']} already up to date"] if count["skipped"] else []),
        *(_option_facts(options) if options is not None else ()),
        f"{setup.precision} on {setup.provider}",
        f"light at {setup.working_size_px} px" if setup.working_size_px else "light at full resolution",
        time.strftime("%Y-%m-%d %H:%M"),
    ]
    shown_results = [result for result in results if result.status != "failed"][:MAX_PREVIEWS]
    page = _PAGE.format(
        title=f"rave-run: {len(results)} photograph{'s' * (len(results) != 1)}",
        facts=html.escape(" · ".join(facts)),
        figures="".join(_figure(result, file) for result in shown_results),
        rows="".join(_row(result) for result in results),
    )
    # The page shows the photographs, so only users who may read all of them may read it.
    write_atomically(
        file,
        page.encode("utf-8", "backslashreplace"),
        like=[result.job.source for result in shown_results],
    )


def _option_facts(options: RunOptions) -> tuple[str, ...]:
    """Returns strength, highlights and model of a run, as the page shows them."""
    model = "the embedded model" if options.model is None else f"model {options.model.name}"
    highlights = () if options.highlights is None else (f"highlights {options.highlights:g}",)
    return (f"strength {options.strength:g}", *highlights, model)


def _figure(result: Result, report: Path) -> str:
    """Returns the HTML of one photograph with its slider; nothing where a picture cannot be shown."""
    # A link in the place of a result was put there after the run: it could show a picture of anybody's.
    before, after = _preview(result.job.source), _preview(result.job.target, follow=False)
    if before is None or after is None:
        return ""
    name = html.escape(result.job.name)
    width, height = _size(result)
    places = [_link(place, report) for place in (result.job.source, result.job.target)]
    return (
        f'<figure><div class="stage"><div class="pair" style="--shape: {width / max(1, height):.4f}">'
        f'<img alt="before" src="{before}" data-width="{width}"{places[0]}>'
        f'<img class="after" alt="after" src="{after}"{places[1]}>'
        '<span class="left" aria-hidden="true">Before</span>'
        '<span class="right" aria-hidden="true">After</span>'
        f'<input type="range" aria-label="before and after: {name}" min="0" max="100" value="50"></div></div>'
        f"<figcaption>{name}<button>Full size</button></figcaption></figure>"
    )


def _link(place: Location, report: Path) -> str:
    """Returns an attribute that names a file relative to the report; "" for files in stores."""
    if not isinstance(place, Path):
        return ""
    try:
        path = os.path.relpath(place, report.parent)
    except ValueError:  # on another drive
        return ""
    return f' data-file="{html.escape(quote(os.fsencode(path.replace(os.sep, "/"))))}"'


def _size(result: Result) -> tuple[int, int]:
    """Returns upright width and height in pixels, from the file where the result was there already."""
    if result.width_px or result.status == "failed":
        return result.width_px, result.height_px
    try:
        content = read_file(result.job.target, follow=False)
        photo = read_by_codec(content, DEFAULT_MAX_MEGAPIXELS)
        if photo is not None:
            return photo.pixels.shape[1], photo.pixels.shape[0]
        with decoding, open_picture(content) as image:
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return image.size[::-1] if is_turned else image.size
    except Exception:  # decoders raise anything
        return 0, 0


def _row(result: Result) -> str:
    width, height = _size(result)
    size = f"{width} x {height}" if width else ""
    notes = without_secrets("; ".join(filter(None, [result.error, *result.warnings])))
    backlit = "" if result.backlit is None else f"{result.backlit:.2f}"
    cells = [result.job.name, result.status, size, backlit, f"{result.seconds:.2f}", notes]
    return (
        f'<tr class="{result.status}">'
        + "".join(f"<td>{html.escape(c) or '–'}</td>" for c in cells)
        + "</tr>"
    )


def _preview(place: Location, *, follow: bool = True) -> str | None:
    """Returns a small JPEG as a data URL; None where the picture cannot be opened again."""
    try:
        content = read_file(place, follow=follow)
        photo = read_by_codec(content, DEFAULT_MAX_MEGAPIXELS, is_draft=True)
        if photo is not None:
            return _data_url(_picture_of(photo), photo.icc_profile)
        with decoding, open_picture(content) as image:
            profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "L", "LA", "P") else None
            image.draft("RGB", (PREVIEW_PX, PREVIEW_PX))
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # convert("RGB") would clip the values
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return _data_url(upright, profile)
    except Exception:  # decoders raise anything; the page can do without one picture
        return None


def _picture_of(photo: Photo) -> Image.Image:
    """Returns a photograph that a codec has read as a picture of Pillow with 8 bits per channel."""
    pixels = photo.pixels if photo.pixels.dtype == np.uint8 else (photo.pixels >> 8).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _data_url(picture: Image.Image, profile: bytes | None) -> str:
    """Returns a small JPEG of an upright picture as a data URL; transparent parts become white."""
    picture.thumbnail((PREVIEW_PX, PREVIEW_PX))
    if picture.has_transparency_data:
        shown = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=85, icc_profile=profile)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
