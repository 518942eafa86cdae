"""Archives with a program inside give their tensors, and nothing of them is run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from rave_train.encoders import open_encoder
from rave_train.encoders.spec import parse_spec
from rave_train.encoders.torchscript import is_torchscript, read_torchscript
from rave_train.errors import EncoderError


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5).half())
        self.register_buffer("steps", torch.arange(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.float()


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.rest = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.rest(self.first(x))
        return result


def save(module: nn.Module, file: Path, traced: torch.Tensor | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(module) if traced is None else torch.jit.trace(module, traced)
        made.save(str(file))
    return file


@pytest.mark.parametrize("traced", [None, torch.rand(2, 3)])
def test_tensors_are_those_of_the_state_dict(tmp_path: Path, traced: torch.Tensor | None) -> None:
    module = Outer()
    file = save(module, tmp_path / "net.safetensors", traced)
    assert is_torchscript(file), "by its content, not its name"
    found, expected = read_torchscript(file), module.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == value.dtype for name, value in expected.items())
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Writing(nn.Module):
    """Its program writes a file as soon as `torch.jit.load` opens it."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.weight: torch.Tensor = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return self.target, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.target, self.weight, self.training = state
        torch.save(self.weight, self.target)


def test_a_program_inside_is_not_run(tmp_path: Path, toy_vit: str) -> None:
    target = tmp_path / "written"
    file = save(Writing(str(target)), tmp_path / "attack.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(file))
    assert target.is_file(), "the attack works where torch opens the archive"
    target.unlink()
    for name in ("attack.pt", "attack.safetensors", "attack.npz"):
        file = file.rename(tmp_path / name)
        with pytest.raises(EncoderError, match="does not hold the weights of toy-vit"):
            open_encoder(toy_vit.replace("@random", f"@{file}"))
        with pytest.raises(EncoderError, match="does not hold weights"):
            open_encoder(f"timm:resnet10t@{file}")
        assert not target.exists()


class Calling:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.target), "w")


def test_neither_pickles_nor_false_claims_get_through(tmp_path: Path) -> None:
    good = save(Outer(), tmp_path / "good.pt")
    target = tmp_path / "written"

    def damaged(name: str, change: bytes, size: int | None = None, compress: bool = False) -> Path:
        file = tmp_path / f"{name}.pt"
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(file, "w") as archive:
            for record in source.infolist():
                content = source.read(record)
                if record.filename.endswith("/data.pkl"):
                    content = change or content
                if "/data/" in record.filename:
                    content = content[:size]
                kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
                archive.writestr(record.filename, content, kind)
        return file

    for file, words in (
        (damaged("call", pickle.dumps(Calling(target), 2)), r"asks for .*open, which is neither a module"),
        (damaged("short", b"", 1), "the archive cannot be read"),
        (damaged("bomb", b"", compress=True), "is compressed or larger"),
        (damaged("empty", b"."), "the archive cannot be read"),
        (damaged("deep", b"\x80\x02" + b"(" * 100_000), "the archive cannot be read"),
    ):
        with pytest.raises(ValueError, match=words):
            read_torchscript(file)
    assert not target.exists()


def test_openais_archives_open_as_they_come(toy_vit: str, tmp_path: Path) -> None:
    """With half floats, their extra numbers, and QuickGELU."""
    open_encoder(toy_vit)  # makes its config known
    model = open_clip.create_model(Path(parse_spec(toy_vit).model).stem, force_quick_gelu=True).eval()
    holder = nn.Module()
    for name, value in model.state_dict().items():
        *path, last = name.split(".")
        place = holder
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        place.register_buffer(last, value.half() if value.is_floating_point() else value)
    holder.register_buffer("input_resolution", torch.tensor(32))
    encoder = open_encoder(toy_vit.replace("@random", f"@{save(holder, tmp_path / 'ViT.pt')}"))
    assert {type(m).__name__ for m in encoder.modules() if "GELU" in type(m).__name__} == {"QuickGELU"}
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels, True, False)[0], model.visual(pixels), atol=5e-3, rtol=0)
