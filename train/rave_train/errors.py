"""Everything that can go wrong in training and measuring, as one tree:

RaveError (of rave_runtime)
└── TrainError               what came cannot be trained on or measured
    ├── CheckpointError      a checkpoint is missing, damaged or of another network
    ├── ConfigError          options contradict each other, or a config file cannot be read
    ├── DataError            folders do not hold the pictures that are needed
    ├── EncoderError         an encoder cannot be opened or lacks what a method needs
    ├── MetricUnavailableError   a metric's weights cannot be had
    ├── RunFolderError       a folder cannot hold a new run
    ├── StateError           a saved state cannot be read
    └── TrainingError        a run cannot go on
"""

from __future__ import annotations

from rave_runtime.errors import RaveError, reason_of


class TrainError(RaveError):
    """Base of every error this package raises on purpose; its message is meant for people."""


class CheckpointError(TrainError, ValueError):
    """A file is not a checkpoint of the enhancement network; the message says why."""


class ConfigError(TrainError, ValueError):
    """Options contradict each other, or a config file cannot be read."""


class DataError(TrainError, ValueError):
    """Folders do not hold the pictures that are needed; the message says what to do."""


class EncoderError(TrainError, ValueError):
    """An encoder cannot be opened or lacks what a method needs; the message says what to do."""


class MetricUnavailableError(TrainError, ValueError):
    """A metric's weights are neither here nor to be downloaded; the message says what to put where."""


class RunFolderError(TrainError, ValueError):
    """A folder cannot hold a new run; the message says what to do."""


class StateError(TrainError, ValueError):
    """A saved state cannot be read."""


class TrainingError(TrainError, RuntimeError):
    """A run cannot go on; the message says what to change."""


def reason_of_loading(error: Exception) -> str:
    """Why a file of weights was not loaded, in one line, without torch's advice to run what is inside."""
    if "weights_only" in str(error):
        return "it holds something else than tensors, which is never run: save a state_dict() and give that"
    if isinstance(error, KeyError):
        return f"it has no entry {error}"
    return reason_of(error)
