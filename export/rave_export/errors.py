"""Everything that can go wrong in exporting and proving, as one tree:

RaveError (of rave_runtime)
└── ExportError        what came cannot be exported, written or proven
    ├── InputError     what the command line names cannot be used: exit code 2, as for unknown options
    └── ParityError    exported graphs are too far from the network
"""

from __future__ import annotations

from rave_runtime.errors import RaveError


class ExportError(RaveError):
    """Something cannot be exported; the message says what came, what is needed and what to do."""


class InputError(ExportError, ValueError):
    """A file, folder or value that was given cannot be used; the message says what is needed."""


class ParityError(ExportError):
    """Exported graphs differ from the reference by more than their tolerance."""
