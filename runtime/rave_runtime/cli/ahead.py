"""Loads the model while the program still imports its other modules.

Imports need Python's lock; OpenVINO does not need it to load graphs, so that both go on at once. With
onnxruntime nothing would be gained: most of its loading is its own import, which goes on beside the decoding
of the first photographs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.photos.formats import READ_ENDINGS
from rave_runtime.run.interrupt import was_interrupted
from rave_runtime.run.options import RunOptions, divide_processors, make_enhancer

_LONGEST_TRIAL_PX: Final = 256
"""The longest picture that is tried: at more, trying takes longer than it spares the first photographs."""


class Ahead:
    """Begins to load the enhancer that a run will most likely need.

    Nothing is loaded for runs that may need no model here: on a cluster, where all results may be there
    already, and where the input is missing or holds no photograph. Whatever is wrong with the model is left
    for the run to tell, when it makes the enhancer itself.

    Args:
        options: the options of the run.
        inputs: the inputs of the command line, from which the number of photographs is guessed.

    Raises:
        KeyboardInterrupt: a signal came during the import of OpenVINO, which turns it into other errors.
    """

    def __init__(self, options: RunOptions, inputs: Sequence[str]) -> None:
        self._arguments: tuple[Any, ...] = ()
        self._enhancer: Enhancer | None = None
        self._is_unused = threading.Event()
        photographs = _guess_photographs(inputs)
        if photographs and options.cluster is None and not options.skip_existing:
            self._workers, threads = divide_processors(options, photographs)
            with contextlib.suppress(RaveError, RuntimeError):  # RuntimeError: no thread can start
                make_enhancer(options, self._workers, threads, make=self._begin)
            if was_interrupted():
                raise KeyboardInterrupt

    def make(self, *arguments: Any, **named_arguments: Any) -> Enhancer:
        """Returns the enhancer that was made, if it was made with these arguments, or a new one.

        Args:
            arguments, named_arguments: those of `Enhancer`.

        Raises:
            RaveError: as `Enhancer`.
        """
        made, self._enhancer = self._enhancer, None
        if made is not None and self._arguments == (arguments, named_arguments):
            return made
        self._is_unused.set()
        return Enhancer(*arguments, **named_arguments)

    def _begin(self, *arguments: Any, **named_arguments: Any) -> Enhancer:
        """Makes an enhancer, and lets a thread load its graphs."""
        enhancer = Enhancer(*arguments, **named_arguments)
        self._arguments, self._enhancer = (arguments, named_arguments), enhancer
        if enhancer.device.name == "openvino":
            from rave_runtime.backends.openvino_network import import_openvino

            import_openvino()
            threading.Thread(target=self._load, args=(enhancer,), name="rave-ahead").start()
        return enhancer

    def _load(self, enhancer: Enhancer) -> None:
        with contextlib.suppress(Exception):  # the first photograph that needs the graph tells
            enhancer.prepare()
            # OpenVINO prepares each of its streams of work for a size when it first comes.
            side = min(enhancer.working_size_px or 0, _LONGEST_TRIAL_PX)
            blank = np.zeros((side * 3 // 4, side, 3), np.uint8)  # most cameras' shape
            for _ in range(min(self._workers, usable_processors()) if side else 0):
                if self._is_unused.is_set() or was_interrupted():
                    return
                enhancer.enhance(blank)


def _guess_photographs(inputs: Sequence[str]) -> int:
    """Returns how many photographs the inputs hold, as far as a look at them tells, at most one a processor.

    A folder inside a folder counts as many, and so does what cannot be looked at, such as a pattern.
    """
    enough = usable_processors()
    if len(inputs) != 1:
        return enough
    count = 0
    try:
        with os.scandir(inputs[0]) as entries:
            for entry in entries:
                count += enough if entry.is_dir() else entry.name.lower().endswith(READ_ENDINGS)
                if count >= enough:
                    return enough
    except NotADirectoryError:
        return 1
    except OSError:
        return enough if set(inputs[0]) & set("*?[:") else 0
    return count
