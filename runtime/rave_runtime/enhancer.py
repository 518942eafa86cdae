"""The enhancer: arrays in, arrays out."""

from __future__ import annotations

import copy
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rave_runtime.backends.devices import GPUS, choose_device, choose_precision
from rave_runtime.backends.gathering import GatheringNetwork
from rave_runtime.backends.load import load_network
from rave_runtime.backends.network import LoadedNetwork
from rave_runtime.backends.stopping import StoppableNetwork
from rave_runtime.bundle import embedded_bundle, read_bundle
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.light.reduction import GuidedLight, Reduction, luminance
from rave_runtime.light.relight import relight
from rave_runtime.light.sizes import check_tile_size, check_working_size
from rave_runtime.light.tiled import tiled_light
from rave_runtime.photos.colour import in_srgb_curve, is_srgb, to_srgb, tone_curve
from rave_runtime.photos.photo import Photo, Pixels

Array = NDArray[np.float32]

AnyPixels = TypeVar("AnyPixels", NDArray[np.uint8], NDArray[np.uint16])


GPU_BATCH: Final = 4
"""Tiles of one photograph per call on a GPU."""

GATHERED_BATCH: Final = 8
"""Tiles of several photographs per call, unless TensorRT engines are built for fewer."""

_WHOLE_PX: Final = 512 * 512
"""Reduced pictures of up to so many pixels run whole: tiles of them would be half halo."""

_STRIP_PX: Final = 1 << 17
"""Pixels brought to full resolution at once: few enough to stay in a processor's cache."""

_Part = tuple[slice, slice, Array]
"""Rows, columns and the light [rows, columns] of one part of an image."""


@dataclass(frozen=True)
class Setup:
    """What a run computes with, for its log and report.

    Attributes:
        device: as on the command line.
        provider: of onnxruntime, or what stands in for one.
        precision: "fp32", "fp16" or "int8".
        working_size_px: long side on which the light is estimated; None is full resolution.
    """

    device: str
    provider: str
    precision: str
    working_size_px: int | None


class Enhancer:
    """Enhances backlit photographs with a bundle's network. Safe to share by threads.

    Args:
        model: folder of a bundle; None is the embedded one.
        precision: "auto", "fp32", "fp16" or "int8".
        device: "auto", "cpu", "openvino", "cuda" or "tensorrt".
        working_size: long side, in pixels, of the reduction on which the light is estimated;
            "recommended" is what the bundle says, None is full resolution. A smaller image is never
            enlarged.
        tile_size: side of the tiles in which the network runs, in pixels; "auto" chooses, None takes
            every image whole, at about 3 GB of memory per megapixel.
        strength: power of the light map: 0 leaves the picture unchanged, 1 is the model, up to 2.
        threads: for the network; 0 takes all processors.

    Raises:
        BundleError: the model cannot be used.
        DeviceError: the device or precision is not to be had.
        UsageError: a size or the strength makes no sense.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        precision: str = "auto",
        device: str = "auto",
        working_size: int | Literal["recommended"] | None = "recommended",
        tile_size: int | Literal["auto"] | None = "auto",
        strength: float = 1.0,
        threads: int = 0,
    ) -> None:
        bundle = read_bundle(embedded_bundle() if model is None else model)
        self.device: Final = choose_device(device)
        self.precision: Final = choose_precision(precision, self.device, bundle.manifest)
        self.manifest: Final = bundle.manifest
        network = load_network(bundle, self.precision, self.device, threads)
        gathers = self.device.name in GPUS
        engines = bundle.manifest.engines if self.device.name == "tensorrt" else ()
        most = min([GATHERED_BATCH, *(engine.batch for engine in engines)])
        self.network: LoadedNetwork = GatheringNetwork(network, most) if gathers else network
        self.batch: Final = min(GPU_BATCH, most) if gathers else 1
        self.tile_size_px: Final = check_tile_size(tile_size, bundle.manifest.network.halo_px)
        recommended = bundle.manifest.working_size_px
        self.working_size_px: Final = check_working_size(working_size, recommended)
        if not 0 <= strength <= 2:
            raise UsageError(f"strength is {strength:g}, a number from 0 to 2 is needed")
        self.strength: Final = strength

    def stopping_when(self, is_stopped: Callable[[], bool]) -> Enhancer:
        """The same enhancer; its pictures end with `StoppedError` between tiles once `is_stopped` says so."""
        other = copy.copy(self)
        other.network = StoppableNetwork(self.network, is_stopped)
        return other

    @property
    def setup(self) -> Setup:
        """What it computes with."""
        return Setup(self.device.name, self.device.provider, self.precision, self.working_size_px)

    @property
    def settings(self) -> str:
        """Everything that decides a result, as one line: model, precision, device, size, strength.

        Not the tiles: they change nothing, and runs that differ in them may finish each other's work.
        """
        graphs = sorted(graph.sha256 for graph in self.manifest.graphs)
        model = hashlib.sha256("".join(graphs).encode()).hexdigest()[:16]
        return (
            f"model={model} precision={self.precision} provider={self.device.provider} "
            f"working_size={self.working_size_px} strength={self.strength:g}"
        )

    def prepare(self) -> None:
        """Loads what the first 8-bit image most likely waits for; others may be enhanced meanwhile.

        Raises:
            BundleError: a graph is missing, damaged or cannot be loaded.
            DeviceError: the device cannot be used.
        """
        if self.strength != 0:
            size = self.working_size_px
            reduced = size is not None and size * size <= _WHOLE_PX
            self.network.prepare(whole=reduced or self.tile_size_px is None)

    def enhance(self, image: AnyPixels) -> AnyPixels:
        """The enhanced photograph.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            Same shape and dtype, a new array.

        Raises:
            PhotoError: another shape or dtype, or no pixels.
            DeviceError: the provider failed.
        """
        _check_image(image)
        out = np.empty_like(image)
        for rows, cols, light in self._light_parts(image):
            relight(image[rows, cols], light, out[rows, cols])
        return out

    def enhance_stream(self, images: Iterable[AnyPixels], workers: int = 2) -> Iterator[AnyPixels]:
        """The enhanced images of a stream, such as a video's frames, in order.

        Args:
            images: each as for `enhance`; taken no more than `workers` ahead.
            workers: images in work at a time.

        Raises:
            PhotoError, DeviceError: as `enhance`, when the image's turn comes.
            UsageError: fewer than one worker.
        """
        if workers < 1:
            raise UsageError(f"workers is {workers}, at least 1 is needed")
        pending: deque[Future[AnyPixels]] = deque()
        source = iter(images)
        with ThreadPoolExecutor(workers, "rave-stream") as pool:
            while True:
                try:
                    # Decoders of videos fill one buffer again and again: each frame is copied.
                    image = np.array(next(source))
                except StopIteration:
                    break
                except BaseException:
                    while pending:  # what came before the fault is given first
                        yield pending.popleft().result()
                    raise
                pending.append(pool.submit(self.enhance, image))
                if len(pending) >= workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def enhance_photo(self, photo: Photo, *, reuse: bool = False) -> Pixels:
        """The enhanced pixels of a photograph: grey, 16 bits and other colour spaces included.

        Args:
            photo: as read by `rave_runtime.photos.reading.read_photo`.
            reuse: the result may take the place of `photo.pixels`, which is not needed any more.

        Returns:
            Like `photo.pixels`, in the same colour space; a new array unless reused.

        Raises:
            DeviceError: the provider failed.
        """
        if self.strength == 0:
            return photo.pixels if reuse else photo.pixels.copy()
        curve = tone_curve(photo.icc_profile)
        # Strips of a reduced light look at their own rows alone; tiles look at their neighbours'.
        in_place = reuse and self._is_reduced(photo.pixels) and photo.pixels.flags.writeable
        out = photo.pixels if in_place else np.empty_like(photo.pixels)
        for rows, cols, light in self._light_parts(_as_seen(photo)):
            relight(photo.pixels[rows, cols], light, out[rows, cols], curve)
        return out

    def illumination(self, image: Pixels) -> Array:
        """The illumination map that `enhance` divides by.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            [h, w] float32, at least 0, usually below 1.

        Raises:
            PhotoError: another shape or dtype, or no pixels.
            DeviceError: the provider failed.
        """
        _check_image(image)
        result = np.empty(image.shape[:2], np.float32)
        for rows, cols, light in self._light_parts(image):
            result[rows, cols] = light
        return result

    def _light_parts(self, image: NDArray[Any]) -> Iterator[_Part]:
        # Some libraries make zero of what is not a number: the whole picture would turn white.
        lit = False
        for part in self._parts(image):
            lit = lit or bool(part[2].any())
            yield part
        if not lit and image.max() > np.iinfo(image.dtype).max // 32:
            raise PhotoError(
                "cannot be enhanced with this model: it computed no light at all; "
                "choose another --precision (fp32), or another model"
            )

    def _parts(self, image: NDArray[Any]) -> Iterator[_Part]:
        if self.working_size_px is not None and self._is_reduced(image):
            return self._reduced_light(image, self.working_size_px)
        return self._full_light(image, self.tile_size_px)

    def _is_reduced(self, image: NDArray[Any]) -> bool:
        """Whether the light of an image is estimated on a reduction of it."""
        return self.working_size_px is not None and max(image.shape[:2]) > self.working_size_px

    def _full_light(self, image: NDArray[Any], tile_px: int | None) -> Iterator[_Part]:
        """The light of an image at its own size, tile by tile."""
        height, width = image.shape[:2]
        doubled = np.repeat(image, 2, 0) if height == 1 else image
        doubled = np.repeat(doubled, 2, 1) if width == 1 else doubled
        for tile, light in tiled_light(self.network, doubled, tile_px, self.batch, fixed=self.batch > 1):
            rows, cols = tile.rows, tile.cols
            row_stop, col_stop = min(rows.core_stop, height), min(cols.core_stop, width)
            core = light[
                rows.core_start - rows.start : row_stop - rows.start,
                cols.core_start - cols.start : col_stop - cols.start,
            ]
            yield (
                slice(rows.core_start, row_stop),
                slice(cols.core_start, col_stop),
                core if self.strength == 1 else core**self.strength,
            )

    def _reduced_light(self, image: NDArray[Any], long_side_px: int) -> Iterator[_Part]:
        """The light of an image, estimated on a reduction of it, in strips of rows."""
        height, width = image.shape[:2]
        reduction = Reduction(image, long_side_px)
        small = np.empty(reduction.pixels.shape[:2], np.float32)
        tile_px = self.tile_size_px if small.size > _WHOLE_PX else None
        for rows, cols, light in self._full_light(reduction.pixels, tile_px):
            small[rows, cols] = light
        guided = GuidedLight(small, luminance(reduction.pixels), height, width)
        step = max(1, _STRIP_PX // width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            yield (
                slice(start, stop),
                slice(0, width),
                guided.rows(start, stop, reduction.luminance(start, stop)),
            )


def _as_seen(photo: Photo) -> Pixels:
    """The photograph as the network sees it: [h, w, 3], sRGB."""
    pixels, profile = photo.pixels, photo.icc_profile
    if pixels.shape[2] == 1:
        grey: Pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return grey
    if profile is None or is_srgb(profile):
        return pixels
    if pixels.dtype == np.uint16:
        return in_srgb_curve(pixels.astype(np.uint16, copy=False), profile)
    return to_srgb(pixels.astype(np.uint8, copy=False), profile)


def _check_image(image: NDArray[Any]) -> None:
    if not isinstance(image, np.ndarray):
        raise PhotoError(f"an image is an array of [h, w, 3] uint8 or uint16, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"an image of [h, w, 3] uint8 or uint16 is needed, got {list(image.shape)} {image.dtype}"
        )
    if not image.size:
        raise PhotoError(f"the image has no pixels: its size is {image.shape[1]} x {image.shape[0]}")
