"""TensorRT's real bindings with its factories replaced: every call is checked, none needs a GPU.

The real module gives enums, flags and base classes. Objects that only a GPU's library can make are
`Strict` objects: they know what the real class has, take only arguments that its documented signatures
take, and answer with what the test tells them. Run by `test_engines.py` in an interpreter of its own.
"""

from __future__ import annotations

import re
from typing import Any


class Strict:
    """Stands in for an object of a real class of the bindings."""

    def __init__(self, real: type, **answers: Any) -> None:
        object.__setattr__(self, "real", real)
        object.__setattr__(self, "answers", answers)
        object.__setattr__(self, "calls", [])
        for name in answers:
            assert hasattr(real, name), f"{real.__name__} has no {name}"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if isinstance(found, property):
            return self.answers[name]

        def call(*positional: Any, **named: Any) -> Any:
            check_call(found.__doc__, self.real.__name__ + "." + name, positional, named)
            self.calls.append((name, positional, named))
            answer = self.answers.get(name)
            return answer(*positional, **named) if callable(answer) else answer

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        assert isinstance(getattr(self.real, name), property), f"{self.real.__name__}.{name} cannot be set"
        self.calls.append((name, (value,), {}))
        self.answers[name] = value


def check_call(doc: str, name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Fails unless a documented signature takes these arguments."""
    signatures = re.findall(rf"^(?:\d+\. )?{name.rpartition('.')[2]}\((.*)\)", doc, re.M)
    signatures = [text for text in signatures if "*args" not in text]
    assert signatures, f"{name} documents no signature"
    for text in signatures:
        parameters = [part.strip() for part in re.split(r",\s*(?=\w+\s*:)", text)]
        parameters = [part for part in parameters if not part.startswith("self")]
        names = [part.partition(":")[0].strip() for part in parameters]
        required = [n for n, part in zip(names, parameters, strict=True) if " = " not in part]
        given = [*names[: len(positional)], *named]
        fits = len(positional) <= len(names) and set(named) <= set(names[len(positional) :])
        if fits and set(required) <= set(given):
            return
    raise AssertionError(f"{name} takes {signatures}, not {len(positional)} arguments and {sorted(named)}")


class Module:
    """The real module, with some classes replaced by factories of Strict objects."""

    def __init__(self, real: Any, **factories: Any) -> None:
        self._real = real
        self._factories = factories
        self.__version__ = real.__version__

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self._factories:
            return real

        def make(*positional: Any, **named: Any) -> Any:
            check_call(real.__init__.__doc__, f"{name}.__init__", positional, named)
            return self._factories[name](*positional, **named)

        return make
