"""Builds a TensorRT engine of one of a bundle's graphs, for rave-export and for the first use of a bundle.

The ONNX graph decides the precision and the network is strongly typed, so the same calls serve TensorRT from
10.12 on, TensorRT 11 (which is always strongly typed) and TensorRT for RTX. `trt` is the library's module, an
argument so that tests can check every call against the real bindings without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rave_runtime.backends.tensorrt.library import TURING_TARGETS, TargetSet
from rave_runtime.backends.tensorrt.turing import without_matrix_products
from rave_runtime.bundle import GraphFile, TensorSpec
from rave_runtime.errors import DeviceError

MIN_SIDE_PX: Final = 2
"""Smallest side of a window: reflection at the borders needs two pixels."""


@dataclass(frozen=True)
class Profile:
    """The windows that an engine takes and is tuned for.

    Attributes:
        batch: most windows per run.
        side_px: longest side of a window, in pixels.
    """

    batch: int
    side_px: int


def build_plan(
    trt: Any,
    content: bytes,
    graph: GraphFile,
    profiles: Sequence[Profile],
    configure: Callable[[Any], None] = lambda _: None,
    check_network: Callable[[Any], None] = lambda _: None,
) -> bytes:
    """Builds an engine and returns it serialized.

    Args:
        trt: the library's module.
        content: the bytes of the ONNX file.
        graph: the graph's entry in the manifest.
        profiles: windows to tune for; the engine gets a separate profile for each.
        configure: changes the builder's configuration, where a caller needs other settings.
        check_network: is called with the parsed network, and may refuse it by raising an error.

    Raises:
        DeviceError: the library cannot parse or build it; the library's own messages are in the error.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise DeviceError(f"TensorRT {trt.__version__} cannot parse {graph.file}: {reasons}")
    check_network(network)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    configure(config)
    for profile in dict.fromkeys(profiles):
        shapes = builder.create_optimization_profile()
        for spec in graph.inputs:
            shapes.set_shape(spec.name, *profile_shapes(spec, profile))
        config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"TensorRT {trt.__version__} cannot build {graph.file}: {logger.reasons() or 'it gave no reason'}"
        )
    return bytes(plan)


def build_rtx_plan(
    trt: Any,
    content: bytes,
    graph: GraphFile,
    profiles: Sequence[Profile],
    targets: TargetSet,
    configure: Callable[[Any], None] = lambda _: None,
    check_network: Callable[[Any], None] = lambda _: None,
) -> bytes:
    """Builds an engine of TensorRT for RTX and returns it serialized.

    Args:
        targets: the GPUs that will run it. Turing needs an engine of a graph without matrix products.
        trt, content, graph, profiles, configure, check_network: as `build_plan`.

    Raises:
        DeviceError: as `build_plan`.
    """
    if targets != TURING_TARGETS:
        return build_plan(trt, content, graph, profiles, configure, check_network)

    def configure_for_turing(config: Any) -> None:
        configure(config)
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(trt.ComputeCapability.SM75, 0):
            raise DeviceError(f"TensorRT for RTX {trt.__version__} does not build for Turing GPUs any more")

    try:
        rewritten = without_matrix_products(content)
    except ValueError as error:
        raise DeviceError(f"{graph.file} cannot be rewritten for Turing GPUs: {error}") from error
    return build_plan(trt, rewritten, graph, profiles, configure_for_turing, check_network)


def profile_shapes(spec: TensorSpec, profile: Profile) -> tuple[tuple[int, ...], ...]:
    """Returns the smallest, best and largest shape of an input: from one tiny window to a full batch."""
    ranges = {
        "batch": (1, profile.batch, profile.batch),
        "height": (MIN_SIDE_PX, profile.side_px, profile.side_px),
        "width": (MIN_SIDE_PX, profile.side_px, profile.side_px),
    }
    axes = [(size, size, size) if isinstance(size, int) else ranges[size] for size in spec.shape]
    return tuple(zip(*axes, strict=True))


def make_logger(trt: Any) -> Any:
    """Makes a logger for TensorRT whose method `reasons` returns its last errors as a text."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for the message of an exception."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """Keeps a message if it is an error; TensorRT calls this."""
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(msg)

        def reasons(self) -> str:
            """Returns the last three errors, separated by semicolons."""
            return "; ".join(self.lines[-3:])

    return Log()
