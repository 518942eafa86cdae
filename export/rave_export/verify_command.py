"""What `rave-export --verify` does, given its options. It needs torch only to read a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from rave_export.errors import InputError
from rave_export.options import VerifyOptions
from rave_export.pictures import read_pictures
from rave_export.proof.report import Proof, prove_bundle
from rave_export.proof.verify import read_reference
from rave_runtime.bundle import MANIFEST_NAME, read_bundle
from rave_runtime.errors import BundleError


def run_verify(options: VerifyOptions, say: Callable[[str], None] = lambda _: None) -> Proof:
    """Proves a bundle again on every device of this machine that can run a part of it.

    Args:
        options: the bundle, and what to compare it with.
        say: called with a line for each photograph that is left out.

    Raises:
        UsageError: options contradict each other.
        RaveError: the bundle, the reference or all photographs cannot be read, or a graph does not run.
        ModuleNotFoundError: a reference is given and torch is not installed.
    """
    options.check()
    try:
        bundle = read_bundle(options.bundle)
    except BundleError as error:
        if (options.bundle / MANIFEST_NAME).exists():  # it is a bundle, and a damaged one fails the proof
            raise
        raise InputError(str(error)) from error
    source = options.reference
    if source is None and bundle.manifest.checkpoint is not None and find_spec("torch"):
        bundle.read_file(bundle.manifest.checkpoint)  # a damaged one fails the proof, as a damaged graph does
        source = bundle.folder
    reference = None if source is None else read_reference(source, options.padding, bundle.manifest)
    pictures = [] if options.images is None else read_pictures(options.images, option="--images", say=say)
    uses_own_checkpoint = source is not None and source == bundle.folder
    return prove_bundle(bundle, reference, pictures, uses_own_checkpoint=uses_own_checkpoint)
