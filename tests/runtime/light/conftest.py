"""What tests of the light share."""

from __future__ import annotations

import pytest

from rave_runtime.light import compiled


@pytest.fixture(params=["compiled", "numpy"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does a test by the compiled passes and once more by numpy."""
    if request.param == "numpy":
        monkeypatch.setattr(compiled, "library", lambda: None)
    elif compiled.library() is None:
        pytest.skip("built without a C compiler")
