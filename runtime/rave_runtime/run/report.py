"""A page that shows a run: before and after under a slider, timings, failures. One file, offline."""

from __future__ import annotations

import base64
import html
import io
import time
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from rave_runtime.enhancer import Setup
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.location import Location
from rave_runtime.files.secrets import without_secrets
from rave_runtime.photos.decoders import decoding
from rave_runtime.run.batch import Result

PREVIEW_PX: Final = 720
MAX_PREVIEWS: Final = 200
"""Photographs shown with pictures; further ones are in the table only, so that the page stays usable."""

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>rave-run report</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  background: #16181b; color: #e8e6e3 }}
h1 {{ font-size: 1.4rem }} .facts {{ color: #a8a6a3 }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1.2rem }}
figure {{ margin: 0 }} figcaption {{ color: #a8a6a3; overflow-wrap: anywhere }}
.pair {{ position: relative; overflow: hidden; border-radius: 6px; --cut: 50% }}
.pair img {{ display: block; width: 100% }}
.pair .after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--cut)) }}
.pair::after {{ content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px;
  background: #fffc }}
.pair input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize }}
table {{ border-collapse: collapse; margin-top: 2rem }}
td, th {{ text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #333;
  overflow-wrap: anywhere }}
.failed {{ color: #ff9b8e }}
</style></head><body>
<h1>{title}</h1><p class="facts">{facts}</p>
<div class="grid">{figures}</div>
<table><thead><tr><th>photograph</th><th>status</th><th>size</th><th>backlit</th><th>seconds</th><th>notes</th></tr></thead>
<tbody>{rows}</tbody></table>
<script>
for (const slider of document.querySelectorAll(".pair input"))
  slider.addEventListener("input", () =>
    slider.parentElement.style.setProperty("--cut", slider.value + "%"));
</script></body></html>
"""


def write_report(file: Path, results: list[Result], setup: Setup) -> None:
    """Writes the page.

    Args:
        file: `.html` to write.
        results: in the order to show them.
        setup: what made them.

    Raises:
        PhotoError: the page cannot be written.
    """
    done = [result for result in results if result.status == "done"]
    failed = sum(result.status == "failed" for result in results)
    copied = sum(result.status == "copied" for result in results)
    facts = [
        f"{len(done)} enhanced",
        *([f"{copied} copied, not being backlit"] if copied else []),
        f"{failed} failed",
        f"{len(results) - len(done) - copied - failed} were there already",
        f"{setup.precision} on {setup.provider}",
        f"light at {setup.working_size_px} px" if setup.working_size_px else "light at full resolution",
        time.strftime("%Y-%m-%d %H:%M"),
    ]
    page = _PAGE.format(
        title=f"rave-run: {len(results)} photographs",
        facts=html.escape(" · ".join(facts)),
        figures="".join(_figure(result) for result in done[:MAX_PREVIEWS]),
        rows="".join(_row(result) for result in results),
    )
    # The page shows the photographs, so that it is for the eyes of those who may see all of them.
    write_atomically(
        file,
        page.encode("utf-8", "backslashreplace"),
        like=[result.job.source for result in done[:MAX_PREVIEWS]],
    )


def _figure(result: Result) -> str:
    before, after = _preview(result.job.source), _preview(result.job.target)
    if before is None or after is None:
        return ""
    name = html.escape(result.job.name)
    return (
        f'<figure><div class="pair"><img alt="before" src="{before}">'
        f'<img class="after" alt="after" src="{after}">'
        f'<input type="range" aria-label="before and after: {name}" min="0" max="100" value="50"></div>'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _row(result: Result) -> str:
    size = f"{result.width_px} x {result.height_px}" if result.width_px else ""
    notes = without_secrets("; ".join(filter(None, [result.error, *result.warnings])))
    backlit = "" if result.backlit is None else f"{result.backlit:.2f}"
    cells = [result.job.name, result.status, size, backlit, f"{result.seconds:.2f}", notes]
    return f'<tr class="{result.status}">' + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>"


def _preview(place: Location) -> str | None:
    """A small JPEG as a data URL; None where the picture cannot be opened again."""
    try:
        content = place if isinstance(place, Path) else io.BytesIO(place.read())
        with decoding, Image.open(content) as image:
            profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "L", "LA", "P") else None
            image.draft("RGB", (PREVIEW_PX, PREVIEW_PX))
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # which convert("RGB") would clip
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            upright.thumbnail((PREVIEW_PX, PREVIEW_PX))
            if upright.has_transparency_data:
                shown = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
            upright = upright.convert("RGB")
    except Exception:  # decoders raise anything; the page can do without one picture
        return None
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=85, icc_profile=profile)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
