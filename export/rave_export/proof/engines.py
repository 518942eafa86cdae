"""Opens the TensorRT engines that this machine's GPU runs, to prove them, and tells why others do not run."""

from __future__ import annotations

from collections.abc import Sequence

from rave_export.proof.parity import TENSORRT, Case, SplitGraphs, probe_cases
from rave_runtime.backends.tensorrt.library import import_library
from rave_runtime.backends.tensorrt.network import TensorRtNetwork
from rave_runtime.bundle import Bundle, EngineFile
from rave_runtime.errors import DeviceError


def engine_candidates(
    bundle: Bundle, plans: Sequence[tuple[EngineFile, bytes]] | None = None
) -> tuple[list[SplitGraphs], dict[str, str]]:
    """Opens engines as networks, with the backend that `rave-run` uses.

    Args:
        bundle: the bundle from whose graphs the engines were built.
        plans: engines that are not files of the bundle yet; None takes those of the bundle.

    Returns:
        A candidate for each precision whose engines run here, and for each engine's file that does not run
        here the reason.
    """
    engines = bundle.manifest.engines if plans is None else tuple(engine for engine, _ in plans)
    candidates: list[SplitGraphs] = []
    reasons = {engine.file: reason for engine in engines if (reason := _missing_library(engine))}
    loadable = [engine for engine in engines if engine.file not in reasons]
    for precision in sorted({engine.precision for engine in loadable}):
        files = {engine.file for engine in loadable if engine.precision == precision}
        try:
            network = TensorRtNetwork(bundle, precision, plans)
            running = network.load_all()
        except DeviceError as error:
            reasons |= dict.fromkeys(files, str(error))
            continue
        candidates.append(SplitGraphs(network, precision, TENSORRT))
        reasons |= dict.fromkeys(files - running, "another engine of its graph fits this GPU")
    return candidates, reasons


def _missing_library(engine: EngineFile) -> str | None:
    """Why an engine's library cannot be used here, or None where it can."""
    try:
        import_library(engine.flavour)
    except DeviceError as error:
        return str(error)
    return None


def engine_cases(engines: Sequence[EngineFile]) -> list[Case]:
    """The built-in cases whose windows and batches every engine takes."""
    tile_px = min(engine.tile_px for engine in engines)
    batch = min(engine.batch for engine in engines)
    return [case for case in probe_cases() if _side_px(case) <= tile_px and len(case.pictures) <= batch]


def _side_px(case: Case) -> int:
    """The longest side of the windows of a case."""
    return case.tile_px or max(side for picture in case.pictures for side in picture.shape[:2])
