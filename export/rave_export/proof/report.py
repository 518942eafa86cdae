"""Proves a whole bundle: measures what can be run here, and says what was not run and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rave_export.proof.engines import engine_candidates, engine_cases
from rave_export.proof.normal_way import compare_normal_way
from rave_export.proof.parity import Reference, is_of, measure_parity, over_tolerance
from rave_export.proof.verify import graph_reference, halo_failures, measure_bundle
from rave_runtime.arrays import Pixels
from rave_runtime.bundle import Bundle, BundleFile, EngineFile, GraphFile, Parity

Status = Literal["proven", "wrong", "not run here", "only hashed"]


@dataclass(frozen=True)
class PartProof:
    """What was done with one file of a bundle.

    Attributes:
        file: the name of the file.
        status: "proven" if it was run and agrees with the reference, "wrong" if it does not; "not run here"
            if it runs only on other machines; "only hashed" if all that was checked is that its bytes are
            those that were exported.
        detail: what it ran on, or why it did not run.
    """

    file: str
    status: Status
    detail: str


@dataclass(frozen=True)
class Proof:
    """The result of proving a bundle.

    Attributes:
        parity: every measurement.
        parts: what was done with each file of the bundle.
        failures: a sentence for each thing that is wrong; empty if everything that was run is right.
        over_tolerance: how many measurements are over their tolerance.
    """

    parity: tuple[Parity, ...]
    parts: tuple[PartProof, ...]
    failures: tuple[str, ...]
    over_tolerance: int = 0

    def summary(self) -> str:
        """The result in one line; it says "passed" only if every file was run and compared."""
        if self.over_tolerance:
            return (
                f"FAILED: {self.over_tolerance} of {len(self.parity)} measurements are over their tolerance"
            )
        if self.failures:
            return "FAILED: its halos are too small"
        counts = {
            status: sum(part.status == status for part in self.parts)
            for status in ("proven", "not run here", "only hashed")
        }
        proven = f"{counts['proven']} files by {len(self.parity)} measurements within their tolerances"
        left = [f"{counts[status]} {status}" for status in ("not run here", "only hashed") if counts[status]]
        if left:
            return f"is proven in part: {proven}; {' and '.join(left)}"
        return f"passed: {proven}, halos wide enough"


def prove_bundle(
    bundle: Bundle,
    reference: Reference | None = None,
    pictures: Sequence[Pixels] = (),
    *,
    uses_own_checkpoint: bool = False,
) -> Proof:
    """Runs everything in a bundle that this machine can run, engines included.

    Args:
        bundle: the bundle to prove.
        reference: what counts as right; None takes the bundle's float32 graphs, untiled.
        pictures: the pictures to run beside the built-in ones, [h, w, 3] uint8.
        uses_own_checkpoint: whether the reference was read from the bundle's checkpoint.

    Returns:
        The measurements, what was done with each file, and what is wrong.

    Raises:
        BundleError: a file is missing or not the one that was exported, or does not load.
        DeviceError: a graph failed to run on a device of this machine.
    """
    expected = reference or graph_reference(bundle)
    parity = measure_bundle(bundle, expected, pictures)
    normal = compare_normal_way(bundle, pictures)
    reasons: dict[str, str] = {}
    if bundle.manifest.engines:
        candidates, reasons = engine_candidates(bundle)
        parity += measure_parity(candidates, expected, engine_cases(bundle.manifest.engines))
    judged = [(row, over_tolerance(row)) for row in parity] + [(one.parity, one.failure) for one in normal]
    over = [failure for _, failure in judged if failure]
    parts = tuple(_part_proof(item, judged, reasons, uses_own_checkpoint) for item in bundle.manifest.files())
    return Proof(tuple(row for row, _ in judged), parts, (*over, *halo_failures(bundle)), len(over))


def _part_proof(
    item: BundleFile,
    judged: Sequence[tuple[Parity, str | None]],
    reasons: dict[str, str],
    uses_own_checkpoint: bool,
) -> PartProof:
    """What was done with one file, from all measurements with their failures and why engines did not run."""
    if isinstance(item, EngineFile) and item.file in reasons:
        return PartProof(item.file, "not run here", reasons[item.file])
    if not isinstance(item, GraphFile | EngineFile):
        if uses_own_checkpoint:
            return PartProof(item.file, "proven", "the reference that the graphs were compared with")
        return PartProof(item.file, "only hashed", "the graphs were compared with another reference")
    own = [(row, failure) for row, failure in judged if is_of(row, item)]
    if not own:
        return PartProof(item.file, "only hashed", "nothing here runs it")
    wrong = [row for row, failure in own if failure]
    status: Status = "wrong" if wrong else "proven"
    return PartProof(item.file, status, f"on {_places(wrong or [row for row, _ in own])}")


def _places(rows: Sequence[Parity]) -> str:
    """What measurements were made on, such as "CPU, OpenVINO"."""
    return ", ".join(dict.fromkeys(row.provider.removesuffix("ExecutionProvider") for row in rows))
