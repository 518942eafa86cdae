"""The enhancer: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array, Pixels, empty_like_pixels
from rave_runtime.backends.devices import GPUS, Setup, choose_device, choose_precision
from rave_runtime.backends.gathering import GatheringNetwork
from rave_runtime.backends.load import load_network
from rave_runtime.backends.network import LoadedNetwork
from rave_runtime.bundle.opening import Model, open_bundle
from rave_runtime.errors import UsageError
from rave_runtime.light.estimate import estimate_light
from rave_runtime.light.look import Look, divisor_of
from rave_runtime.light.normal_way import NormalWay, look_up
from rave_runtime.light.reduction import Reduction
from rave_runtime.light.relight import relight
from rave_runtime.light.score import Scored, backlit_score
from rave_runtime.light.sharing import count_threads, map_in_order, threads_for
from rave_runtime.light.sizes import check_tile_size, check_working_size
from rave_runtime.light.tiled import full_light, whole_light
from rave_runtime.photos.colour import as_seen, to_srgb_curve, tone_curve
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS, Photo, check_image

if TYPE_CHECKING:
    from rave_runtime.run.one_photo import EnhancedPhoto

AnyPixels = TypeVar("AnyPixels", NDArray[np.uint8], NDArray[np.uint16])

GPU_BATCH: Final = 4
"""Tiles of one photograph per call of the network on a GPU."""

GATHERED_BATCH: Final = 8
"""Most tiles of several photographs per call; fewer if TensorRT engines are built for fewer."""

_WHOLE_PX: Final = 512 * 512
"""Reduced pictures of at most this many pixels run whole: half of each of their tiles would be halo."""

_LOOK: Final = 10
"""Version of the look, raised when the same options give another picture, for `--skip-existing`."""


class Enhancer:
    """Enhances backlit photographs with a bundle's network.

    Several threads may share one. Pickled for a process, it takes its arguments along, and the process loads
    the model.

    Args:
        model: folder of a bundle, or a bundle that was read; None is the embedded one.
        precision: "auto", "fp32", "fp16" or "int8".
        device: "auto", "cpu", "openvino", "cuda" or "tensorrt".
        working_size: long side, in pixels, of the reduction on which the light is estimated; "recommended" is
            what the bundle says, None is full resolution. A smaller image is never enlarged.
        tile_size: side of the tiles in which the network runs, in pixels; "auto" chooses, None takes every
            image whole, at 1 to 3 GB of memory per megapixel.
        strength: how much shaded parts are brightened, 0 to 2: 0 changes nothing, 1 is the model.
        threads: processors for one photograph; 0 takes all.
        highlights: how much bright parts, such as skies, are brightened, 0 to 2: 0 keeps them, 1 is the
            model; None is the strength, but at most 1.

    Raises:
        BundleError: the model cannot be used.
        DeviceError: the device or precision is not available.
        UsageError: a size, the strength, the threads or the highlights are out of range.
    """

    def __init__(
        self,
        model: Model = None,
        precision: str = "auto",
        device: str = "auto",
        working_size: int | Literal["recommended"] | None = "recommended",
        tile_size: int | Literal["auto"] | None = "auto",
        strength: float = 1.0,
        threads: int = 0,
        highlights: float | None = None,
    ) -> None:
        self._given: Final = model, precision, device, working_size, tile_size, threads
        self._threads: Final = count_threads(threads)
        bundle = open_bundle(model)
        self.device: Final = choose_device(device)
        self.precision: Final = choose_precision(precision, self.device, bundle.manifest)
        self.manifest: Final = bundle.manifest
        network = load_network(bundle, self.precision, self.device, self._threads)
        gathers = self.device.name in GPUS
        engines = bundle.manifest.engines if self.device.name == "tensorrt" else ()
        max_windows = min([GATHERED_BATCH, *(engine.batch for engine in engines)])
        self.network: LoadedNetwork = GatheringNetwork(network, max_windows) if gathers else network
        self.batch: Final = min(GPU_BATCH, max_windows) if gathers else 1
        self.tile_size_px: Final = check_tile_size(tile_size, bundle.manifest.network.halo_px)
        recommended = bundle.manifest.working_size_px
        self.working_size_px: Final = check_working_size(working_size, recommended)
        self.look: Final = Look(strength, highlights)

    def __reduce__(self) -> tuple[type[Enhancer], tuple[object, ...]]:
        *before, threads = self._given
        return type(self), (*before, self.look.strength, threads, self.look.highlights)

    def __copy__(self) -> Enhancer:
        """Returns one that shares the network, whose other attributes may be set."""
        same = object.__new__(type(self))
        vars(same).update(vars(self))
        return same

    @property
    def strength(self) -> float:
        """How much shaded parts are brightened, 0 to 2."""
        return self.look.strength

    @property
    def setup(self) -> Setup:
        """The device, provider, precision and working size of this enhancer."""
        return Setup(self.device.name, self.device.provider, self.precision, self.working_size_px)

    @property
    def settings(self) -> str:
        """Everything that decides a result, as one line: model, precision, device, size, look.

        Tiles are left out: they change no result, so runs with other tiles may finish each other's work.
        """
        return (
            f"model={self.manifest.model_hash} precision={self.precision} provider={self.device.provider} "
            f"working_size={self.working_size_px} strength={self.look.strength:g} "
            f"highlights={self.look.bright_power:g} look={_LOOK}"
        )

    def prepare(self) -> None:
        """Loads the graphs that the first 8-bit image most likely needs; other threads may enhance meanwhile.

        Raises:
            BundleError: a graph is missing, damaged or cannot be loaded.
            DeviceError: the device cannot be used.
        """
        if not self.look.changes_nothing:
            size = self.working_size_px
            reduced = size is not None and size * size <= _WHOLE_PX
            self.network.prepare(whole=reduced or self.tile_size_px is None)

    def enhance(self, image: AnyPixels) -> AnyPixels:
        """Enhances a photograph.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            Same shape and dtype, a new array.

        Raises:
            PhotoError: the shape or dtype is wrong, there are no pixels, or the light cannot be used.
            DeviceError: the provider failed.
        """
        check_image(image)
        if self.look.changes_nothing:
            return image.copy()
        out = np.empty_like(image)
        self._develop(image, None, out, 0.0)
        return out

    def enhance_stream(self, images: Iterable[AnyPixels], workers: int = 2) -> Iterator[AnyPixels]:
        """Yields the enhanced images of a stream, such as a video's frames, in order.

        Args:
            images: each as for `enhance`; at most `workers` of them are read ahead.
            workers: images in work at a time.

        Raises:
            PhotoError, DeviceError: as `enhance`, when the image's turn comes.
            UsageError: fewer than one worker.
        """
        if workers < 1:
            raise UsageError(f"workers is {workers}, at least 1 is needed")
        # Decoders of videos fill one buffer again and again: each frame is copied.
        yield from map_in_order(self.enhance, map(np.array, images), workers)

    def enhance_photo(self, photo: Photo, *, reuse: bool = False) -> Pixels:
        """Returns the enhanced pixels of a photograph, which may be grey, 16-bit or not in sRGB.

        Args:
            photo: as read by `rave_runtime.photos.reading.read_photo`.
            reuse: whether the result may be written over `photo.pixels`.

        Returns:
            Like `photo.pixels`, in the same colour space; a new array unless reused.

        Raises:
            PhotoError: the network's light is not usable.
            DeviceError: the provider failed.
        """
        pixels = self.score_photo(photo, reuse=reuse).pixels
        assert pixels is not None
        return pixels

    def score_photo(self, photo: Photo, *, reuse: bool = False, least_score: float = 0.0) -> Scored:
        """Returns the enhanced pixels of a photograph, and how backlit it is.

        Args:
            photo: as for `enhance_photo`.
            reuse: as for `enhance_photo`.
            least_score: a photograph with a smaller score is not enhanced.

        Raises:
            PhotoError, DeviceError: as `enhance_photo`.
        """
        if self.look.changes_nothing and least_score <= 0:
            return Scored(photo.pixels if reuse else photo.pixels.copy(), None, is_same=True)
        # With a reduced light, a strip reads its own rows only; tiles also read their neighbours' rows.
        in_place = reuse and self.working_size_px is not None and photo.pixels.flags.writeable
        out = photo.pixels if in_place else empty_like_pixels(photo.pixels)
        score, is_same = self._develop(photo.pixels, photo.icc_profile, out, least_score)
        return Scored(out if score >= least_score else None, score, is_same)

    def backlit_score(self, image: Pixels, icc_profile: bytes | None = None) -> float:
        """Returns how much light the darkest third of a photograph lacks, from 0 to 1.

        0 is a photograph that the model leaves as it is; at 0.5 it makes the darkest third about twice as
        bright. Strength and highlights do not matter. See `rave_runtime.light.score`.

        Args:
            image: [h, w, 3] uint8 or uint16.
            icc_profile: its colour space; None is sRGB.

        Raises:
            PhotoError, DeviceError: as `enhance`.
        """
        check_image(image)
        if self.working_size_px is None:
            seen = as_seen(image, icc_profile)
            return backlit_score([whole_light(self.network, seen, self.tile_size_px, self.batch)])
        return self._normal_way(image, icc_profile, self.working_size_px)[1]

    def enhance_bytes(
        self,
        data: bytes | bytearray | memoryview,
        *,
        strength: float | None = None,
        format: str | None = None,
        quality: int | None = None,
        highlights: float | None = None,
        again: bool = False,
        hdr: bool = False,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> EnhancedPhoto:
        """Enhances a photograph from file bytes to file bytes, and keeps its metadata and colours.

        Args:
            data: the bytes of a file.
            strength, highlights: 0 to 2; None is the enhancer's.
            format, quality: such as "jpeg" and 1 to 100, a whole number; None keeps the photograph's.
            again, hdr: whether to enhance what was enhanced before, and to give JPEGs an HDR gain map.
            max_megapixels: larger photographs are refused before they are decoded.

        Raises:
            RaveError: it cannot be read, enhanced or written, or an argument makes no sense.
        """
        from rave_runtime.run.one_photo import enhance_bytes

        return enhance_bytes(self, data, strength, highlights, format, quality, again, hdr, max_megapixels)

    def illumination(self, image: Pixels) -> Array:
        """Returns the illumination map by which `enhance` divides, strength included, roll-off excluded.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            [h, w] float32, at least 0, usually below 1.

        Raises:
            PhotoError, DeviceError: as `enhance`.
        """
        check_image(image)
        if self.working_size_px is not None:
            return self._normal_way(image, None, self.working_size_px)[0].divisor()
        return divisor_of(whole_light(self.network, image, self.tile_size_px, self.batch), self.look)

    def _develop(
        self, pixels: NDArray[Any], icc_profile: bytes | None, out: NDArray[Any], least_score: float
    ) -> tuple[float, bool]:
        """Writes an enhanced photograph, [h, w, 1 or 3] in the profile's space.

        If the score is too small, `out` may stay as it is. With a working size it may be the pixels.
        Returns the score, and whether the normal way found nothing to change.
        """
        curve = tone_curve(icc_profile)
        if self.working_size_px is not None:
            normal, score = self._normal_way(pixels, icc_profile, self.working_size_px)
            if score >= least_score:
                normal.develop(pixels, out, curve, threads_for(pixels, self._threads))
            return score, normal.changes_nothing

        image = as_seen(pixels, icc_profile)

        def lights() -> Iterator[Array]:
            for rows, cols, light in full_light(self.network, image, self.tile_size_px, self.batch):
                relight(pixels[rows, cols], divisor_of(light, self.look), out[rows, cols], curve)
                yield light

        return backlit_score(lights()), False

    def _normal_way(
        self, pixels: NDArray[Any], icc_profile: bytes | None, working_size_px: int
    ) -> tuple[NormalWay, float]:
        """Returns a photograph in the normal way, and its score; the arguments are as for `_develop`."""
        # In sRGB's tone curve the pixels can guide as they are, and only the reduced picture is converted.
        table = to_srgb_curve(pixels.dtype, icc_profile)
        threads = threads_for(pixels, self._threads)
        image = as_seen(pixels if table is None else look_up(pixels, table, threads), None)
        is_large = max(image.shape[:2]) > working_size_px
        reduction = Reduction(image, working_size_px, threads) if is_large else None
        small: NDArray[Any] = image if reduction is None else reduction.pixels
        seen = as_seen(small, icc_profile, is_in_srgb_curve=True)
        tile_px = self.tile_size_px if seen.shape[0] * seen.shape[1] > _WHOLE_PX else None
        light, inside = estimate_light(self.network, seen, tile_px, self.batch)
        return NormalWay(image, light, self.look, reduction, seen), backlit_score([light[inside]])
