"""Adds engines to a bundle after they have been built, checked and, where a GPU built them, proven."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial

from rave_export.engines.build import EngineOptions, Say, build_engines, find_build_gpu, import_tensorrt
from rave_export.errors import ExportError, ParityError
from rave_export.proof.engines import engine_candidates, engine_cases
from rave_export.proof.parity import TENSORRT, measure_parity, over_tolerance
from rave_export.proof.reference import torch_reference
from rave_runtime.bundle import MANIFEST_NAME, Bundle, EngineFile, Parity, read_bundle, write_manifest
from rave_runtime.files.windows import patiently
from rave_train.network import EnhancementNetwork


def add_engines(
    folder: str | os.PathLike[str],
    options: EngineOptions,
    network: EnhancementNetwork,
    say: Say = lambda _: None,
) -> Bundle:
    """Builds TensorRT engines of a bundle's graphs, proves them where a GPU built them, and adds them to it.

    Args:
        folder: the folder of the bundle.
        options: what the engines are built for.
        network: the network from which the graphs were exported.
        say: called with a line per stage.

    Returns:
        The bundle with its engines.

    Raises:
        ExportError: TensorRT or a GPU is missing, or an engine cannot be built, is not of its graph's
            precision, or cannot be written. The bundle is unchanged.
        ParityError: engines differ from the network by more than their tolerance.
        BundleError: the bundle is damaged.
    """
    bundle = read_bundle(folder)
    trt = import_tensorrt(options.flavour)
    if options.flavour == "tensorrt-rtx":
        # They cannot be run here, which takes such a GPU; their graphs have been proven already.
        return write_engines(bundle, build_engines(bundle, options, trt, None, say), [])
    plans = build_engines(bundle, options, trt, find_build_gpu(trt), say)
    say("proving the engines on the GPU")
    candidates, reasons = engine_candidates(bundle, plans)
    if reasons:
        raise ExportError(
            f"the engines do not run on the GPU that built them: {next(iter(reasons.values()))}"
        )
    cases = engine_cases([engine for engine, _ in plans])
    parity = measure_parity(candidates, torch_reference(network), cases)
    failures = [failure for failure in map(over_tolerance, parity) if failure]
    if failures:
        raise ParityError("the engines are too far from the network:\n" + "\n".join(failures))
    return write_engines(bundle, plans, parity)


def write_engines(bundle: Bundle, plans: list[tuple[EngineFile, bytes]], parity: list[Parity]) -> Bundle:
    """Writes engines into a bundle and its manifest; engines of the same key are replaced.

    Args:
        bundle: the bundle from whose graphs they were built.
        plans: manifest entry and bytes of each engine.
        parity: measurements of these engines, which replace earlier ones of engines; none leave those.

    Returns:
        The bundle, read again.

    Raises:
        ExportError: writing failed; the bundle is unchanged.
    """
    names = {engine.file for engine, _ in plans}
    other_engines = [engine for engine in bundle.manifest.engines if engine.file not in names]
    other_rows = [row for row in bundle.manifest.parity if row.provider != TENSORRT or not parity]
    manifest = replace(
        bundle.manifest,
        engines=(*other_engines, *(engine for engine, _ in plans)),
        parity=(*other_rows, *parity),
    )
    to_remove = names - {engine.file for engine in bundle.manifest.engines}
    manifest_folder = bundle.folder / f".{MANIFEST_NAME}.partial"
    try:
        for engine, plan in plans:
            part = bundle.folder / f".{engine.file}.partial"
            part.write_bytes(plan)
            patiently(partial(part.replace, bundle.folder / engine.file))
        manifest_folder.mkdir()
        write_manifest(manifest_folder, manifest)
        new_manifest = manifest_folder / MANIFEST_NAME
        patiently(partial(new_manifest.replace, bundle.folder / MANIFEST_NAME))
        to_remove = set()
    except OSError as error:
        raise ExportError(
            f"engines cannot be written to {bundle.folder} ({error.strerror}): the bundle is unchanged"
        ) from error
    finally:  # also where the program is interrupted
        for name in to_remove:
            (bundle.folder / name).unlink(missing_ok=True)
        for left in bundle.folder.glob(".*.partial"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return read_bundle(bundle.folder)
