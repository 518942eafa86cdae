"""Reading the tensors of a TorchScript archive without running anything that is in it.

OpenAI publishes its CLIP models as such archives. `torch.jit.load` would execute the program inside: whoever
made the file could do whatever the user may. Here only the archive's table of modules and its raw numbers are
read, as data.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from rave_runtime.errors import reason_of

_STORAGES: Final = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS: Final = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_MAX_TABLE_BYTES: Final = 64 << 20
"""Largest table of modules that is read; OpenAI's have a few hundred KiB."""


def is_torchscript(file: Path) -> bool:
    """Whether a file is a TorchScript archive, whatever its name."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """Tensors of an archive by their names in the tree of modules; nothing in the file is executed.

    Raises:
        ValueError: the archive holds something else than modules, tensors and plain values, or is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            table = _read_record(archive, root, _MAX_TABLE_BYTES)
            modules = _Reader(archive, root.removesuffix("data.pkl"), table).load()
    except (
        AttributeError, EOFError, IndexError, KeyError, MemoryError, OverflowError, RuntimeError,
        StopIteration, TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise ValueError(f"the archive cannot be read: {reason_of(error)}") from error
    return _tensors_of(modules)


class _Module:
    """Stands for every class of the archive's program, and keeps the values saved of an instance."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module keeps something else than named values")
        self.state = state


class _Reader(pickle.Unpickler):
    """Unpickles a table of modules; it can call nothing but what `find_class` names."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, table: bytes) -> None:
        super().__init__(io.BytesIO(table))
        self._archive, self._prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name that the table asks for; raises UnpicklingError for unknown names."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is neither a module nor a tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        """The values of a storage that the table refers to, as a tensor of one axis."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int):
            raise pickle.UnpicklingError("it asks for something else than a storage")
        content = _read_record(self._archive, f"{self._prefix}data/{key}", count * dtype.itemsize)
        return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _read_record(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """A record's bytes. Torch stores them uncompressed; a compressed record could expand without bound."""
    record = archive.getinfo(name)
    if record.compress_type != zipfile.ZIP_STORED or record.file_size > max_bytes:
        raise pickle.UnpicklingError(f"its record {name} is compressed or larger than what it stands for")
    return archive.read(record)


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    """A tensor from its storage; stands for the function of torch that the archive names."""
    needed = torch.Size(size).numel() if all(side > 0 for side in size) else 0
    if needed > storage.numel():  # strides of 0 would let a small file claim any size
        raise pickle.UnpicklingError(f"a tensor of {list(size)} has only {storage.numel()} values")
    return storage.as_strided(size, stride, offset).clone()


def _tensors_of(root: Any) -> dict[str, Tensor]:
    """Every tensor below a module, by the names of the modules that lead to it."""
    tensors: dict[str, Tensor] = {}
    queue: list[tuple[str, Any]] = [("", root)]
    seen: set[int] = set()
    while queue:
        prefix, module = queue.pop()
        if not isinstance(module, _Module) or id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in module.state.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            else:
                queue.append((f"{prefix}{name}.", value))
    return tensors
