"""Builds a bundle's engines of TensorRT for RTX by the real library, without a GPU: see `test_rtx.py`.

Usage: build_rtx.py BUNDLE
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import tensorrt_rtx_bindings

sys.modules["tensorrt_rtx"] = tensorrt_rtx_bindings  # what its wheel beside the bindings does


def target_turing(config: Any) -> None:
    """Tells the builder to build for Turing alone."""
    config.num_compute_capabilities = 1
    assert config.set_compute_capability(tensorrt_rtx_bindings.ComputeCapability.SM75, 0)


def main(folder: str) -> None:
    """Builds every tiling graph in fp16, one in fp32, and one as `rave-run` does at first use."""
    from rave_export.engines.build import EngineOptions, build_engines, import_tensorrt
    from rave_export.engines.precision import check_parsed_precision
    from rave_export.errors import ExportError
    from rave_runtime.backends.tensorrt.building import build_plan, build_rtx_plan
    from rave_runtime.backends.tensorrt.library import RTX_TARGETS
    from rave_runtime.backends.tensorrt.network import first_use_profiles
    from rave_runtime.bundle import Bundle, read_bundle
    from rave_runtime.errors import DeviceError

    bundle = read_bundle(folder)
    trt = import_tensorrt("tensorrt-rtx")
    said: list[str] = []
    found = []
    for precision in ("fp16", "fp32"):
        options = EngineOptions(precision, tile_px=256, batch=4, working_size_px=96, flavour="tensorrt-rtx")
        graphs = [each for each in bundle.manifest.graphs if precision == "fp16" or each.part == "enhance"]
        chosen = Bundle(bundle.folder, replace(bundle.manifest, graphs=tuple(graphs)))
        for engine, plan in build_engines(chosen, options, trt, None, said.append):
            found.append({"file": engine.file, "bytes": len(plan), "targets": plan[0x20]})
            assert engine.gpu == ""
            assert engine.targets[0] == ("7.5" if "_rtx_turing_" in engine.file else "8.0")
    graph = bundle.manifest.graph("enhance", "fp16")
    content = bundle.read_file(graph)
    assert build_rtx_plan(trt, content, graph, first_use_profiles(bundle.manifest), RTX_TARGETS)
    try:
        build_rtx_plan(trt, content, graph, options.profiles, RTX_TARGETS, target_turing)
    except DeviceError as error:
        found.append({"as it is": str(error)})
    full = bundle.read_file(bundle.manifest.graph("enhance", "fp32"))

    def refuse(network: Any) -> None:
        check_parsed_precision(trt, network, content, "enhance")

    try:
        build_plan(trt, full, graph, options.profiles, check_network=refuse)
    except ExportError as error:
        found.append({"refused": str(error)})
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
