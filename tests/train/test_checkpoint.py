from __future__ import annotations

import json
import os
import resource
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rave_train import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from rave_train.network import EnhancementNetwork


@pytest.fixture
def network() -> EnhancementNetwork:
    torch.manual_seed(3)
    return EnhancementNetwork(channels=8, padding="zeros")


def test_ours_keeps_weights_padding_and_provenance(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_checkpoint(network, file, {"method": "rave", "steps": 7})
    found = read_checkpoint(file)
    assert found.network.padding == "zeros"
    assert found.network.channels == 8
    assert found.provenance == {"method": "rave", "steps": 7}
    assert not found.network.training
    assert load_checkpoint(file, "reflect").padding == "reflect"
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found.network.state_dict()[name], value, rtol=0, atol=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


def test_equal_checkpoints_are_equal_bytes(network: EnhancementNetwork, tmp_path: Path) -> None:
    """The library that writes the format puts metadata into another order each time."""
    provenance = {"method": "rave", "note": "caf\u00e9 \u5199\u771f"}
    contents = set()
    for number in range(8):
        file = tmp_path / f"{number}.safetensors"
        save_checkpoint(network, file, provenance)
        contents.add(file.read_bytes())
    (content,) = contents
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0, "the numbers are aligned"
    assert list(json.loads(content[8 : 8 + length])["__metadata__"]) == ["format", "padding", "provenance"]
    assert read_checkpoint(file).provenance == provenance
    for name, value in load_file(file).items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_upstream_reads_what_we_write_by_cutting_seven_characters(tmp_path: Path) -> None:
    ours = EnhancementNetwork()
    file = tmp_path / "net.pth"
    save_checkpoint(ours, file)
    loaded = torch.load(file, weights_only=True)
    assert len(loaded) == 30
    upstream = EnhancementNetwork()
    upstream.load_state_dict({name[7:]: value for name, value in loaded.items()})
    back = load_checkpoint(file)
    assert back.padding == "reflect"
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(upstream.state_dict()[name], value, rtol=0, atol=0)
        torch.testing.assert_close(back.state_dict()[name], value, rtol=0, atol=0)


def test_names_without_the_prefix_are_read_too(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "plain.pth"
    torch.save(network.state_dict(), file)
    assert load_checkpoint(file).channels == 8


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.trace,)


def test_code_in_a_pth_is_never_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"module.cond1.weight": Evil(trace)}, file)
    with pytest.raises(CheckpointError, match="holds Python objects other than tensors, which are never run"):
        load_checkpoint(file)
    assert not trace.exists()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_truncated_files_are_named(network: EnhancementNetwork, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"net.{ending}"
    save_checkpoint(network, file)
    for size in (file.stat().st_size // 2, 20):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(CheckpointError, match=rf"net\.{ending} (is truncated|is neither)") as caught:
            load_checkpoint(file)
        said = str(caught.value)
        assert said.endswith(
            ("): copy or download it again", ": give a checkpoint of the enhancement network")
        )
        assert "file is)" not in said, "half a sentence"


def test_other_networks_are_told_apart(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    tensors = {name: value.clone() for name, value in network.state_dict().items()}

    def error_of(changed: dict[str, torch.Tensor]) -> str:
        save_file(changed, file)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(file)
        return str(caught.value)

    without = {name: value for name, value in tensors.items() if not name.startswith("condx")}
    assert "missing condx.bias, condx.weight; unknown nothing" in error_of(without)
    assert "unknown extra" in error_of({**tensors, "extra": torch.zeros(1)})
    wrong = {**tensors, "condx.weight": torch.zeros(16, 8, 5, 5)}
    assert "condx.weight is [16, 8, 5, 5] torch.float32, [16, 8, 3, 3] floating point is needed" in error_of(
        wrong
    )
    assert "cond1.weight [32, 3, 3, 3] is not in it" in error_of({"conv.weight": torch.zeros(3)})
    integers = {**tensors, "condx.bias": torch.zeros(16, dtype=torch.int64)}
    assert "condx.bias is [16] torch.int64" in error_of(integers)
    diverged = {**tensors, "condx.bias": torch.full((16,), float("nan"))}
    assert "condx.bias has NaN or infinite values, since its training diverged" in error_of(diverged)


def test_files_that_are_no_checkpoint(network: EnhancementNetwork, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist: a checkpoint"):
        load_checkpoint(tmp_path / "absent.pth")
    text = tmp_path / "notes.pth"
    text.write_text("these are notes, not weights")
    with pytest.raises(CheckpointError, match="neither safetensors nor a torch file"):
        load_checkpoint(text)
    listing = tmp_path / "list.pth"
    torch.save([torch.zeros(1)], listing)
    with pytest.raises(CheckpointError, match="is not a state dict"):
        load_checkpoint(listing)
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors \(ours\) or \.pth"):
        save_checkpoint(network, tmp_path / "net.onnx")


def test_an_unknown_padding_in_the_file_is_an_error(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file(network.state_dict(), file, {"padding": "mirror", "provenance": json.dumps({})})
    with pytest.raises(CheckpointError, match="states padding 'mirror', one of reflect, zeros is needed"):
        load_checkpoint(file)


def test_a_provenance_of_another_kind(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file(network.state_dict(), file, {"padding": "zeros", "provenance": "[1]"})
    with pytest.raises(CheckpointError, match="states a provenance that is not a JSON object"):
        load_checkpoint(file)
    for size, expected in (("96", 96), ("12", 32), ("true", 512), ("96.5", 512), ("null", 512)):
        provenance = f'{{"training_size_px": {size}}}'
        save_file(network.state_dict(), file, {"padding": "zeros", "provenance": provenance})
        assert read_checkpoint(file).working_size_px == expected


@pytest.mark.shared
@pytest.mark.parametrize("name", ["rave_paired.pth", "clip_lit.pth"])
def test_published_checkpoints_survive_a_round_trip(shared: Path, tmp_path: Path, name: str) -> None:
    published = torch.load(shared / "upstream" / name, map_location="cpu", weights_only=True)
    network = load_checkpoint(shared / "upstream" / name)
    save_checkpoint(network, tmp_path / "again.pth")
    save_checkpoint(network, tmp_path / "again.safetensors")
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    ours = load_file(tmp_path / "again.safetensors")
    assert again.keys() == published.keys()
    for key, value in published.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0)
        torch.testing.assert_close(ours[key[7:]], value, rtol=0, atol=0)


def test_an_old_torch_file_may_be_cut_anywhere(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "old.pth"
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=False)
    assert load_checkpoint(file).channels == network.channels
    whole = file.read_bytes()
    for size in (3, 31, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"old\.pth"):
            load_checkpoint(file)


def test_hostile_tensors_are_refused_before_they_cost_anything(
    network: EnhancementNetwork, tmp_path: Path
) -> None:
    """Sparse, meta, float8 and expanded tensors are no numbers that are there."""
    whole = network.state_dict()
    one = torch.zeros(1)
    for change, words in (
        (whole["condx.weight"].to_sparse(), "does not store all its numbers"),
        (whole["condx.weight"].to("meta"), "does not store all its numbers"),
        (one.expand(whole["condx.weight"].shape), "does not store all its numbers"),
        (whole["condx.weight"].to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (whole["condx.weight"].to(torch.complex64), "complex64"),
    ):
        file = tmp_path / "hostile.pth"
        torch.save({**whole, "condx.weight": change}, file)
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(file)
    small = {name: value.to(torch.float8_e5m2) for name, value in whole.items()}
    save_file(small, tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="float8_e5m2"):
        read_checkpoint(tmp_path / "small.safetensors")


def test_claimed_channels_cost_no_memory(network: EnhancementNetwork, tmp_path: Path) -> None:
    """A network of 6,000 channels takes 12 GB; this file has 700 KB."""
    tensors = {**network.state_dict(), "cond1.weight": torch.zeros(6000, 3, 3, 3)}
    save_file(tensors, tmp_path / "wide.safetensors")
    claim = {name: torch.zeros(1).expand(value.shape) for name, value in tensors.items()}
    torch.save(claim, tmp_path / "wide.pth")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=r"is \[8\]|is \[|does not store all its numbers"):
            read_checkpoint(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"


def test_a_deep_provenance_and_compressed_numbers(network: EnhancementNetwork, tmp_path: Path) -> None:
    file = tmp_path / "deep.safetensors"
    save_file(network.state_dict(), file, {"provenance": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(CheckpointError, match="states a provenance that is not JSON"):
        read_checkpoint(file)
    save_checkpoint(network, tmp_path / "net.pth")
    with (
        zipfile.ZipFile(tmp_path / "net.pth") as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for record in source.infolist():
            bomb.writestr(record.filename, source.read(record))
    with pytest.raises(CheckpointError, match="its numbers are compressed"):
        read_checkpoint(tmp_path / "bomb.pth")
