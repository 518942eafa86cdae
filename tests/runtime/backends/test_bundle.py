from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rave_runtime import BundleError, Enhancer
from rave_runtime.bundle import MANIFEST_NAME, embedded_bundle, read_bundle, write_manifest


def change_manifest(bundle: Path, **changes: Any) -> None:
    file = bundle / MANIFEST_NAME
    content = json.loads(file.read_text())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    file.write_text(json.dumps(content))


def test_a_manifest_survives_writing_and_reading(bundle_copy: Path) -> None:
    before = read_bundle(bundle_copy).manifest
    write_manifest(bundle_copy, before)
    assert read_bundle(bundle_copy).manifest == before


def test_the_embedded_manifest_says_how_it_was_made() -> None:
    manifest = read_bundle(embedded_bundle()).manifest
    assert manifest.provenance["recipe"]
    assert manifest.parity


def test_another_format_version(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, format=2)
    with pytest.raises(BundleError, match="has bundle format 2, this runtime reads 1: export its checkpoint"):
        read_bundle(bundle_copy)


def test_a_missing_file(bundle_copy: Path) -> None:
    graph = read_bundle(bundle_copy).manifest.graphs[0]
    (bundle_copy / graph.file).unlink()
    with pytest.raises(BundleError, match=rf"lacks {graph.file}, which its manifest names"):
        read_bundle(bundle_copy)


def test_a_flipped_byte(bundle_copy: Path) -> None:
    bundle = read_bundle(bundle_copy)
    file = bundle_copy / bundle.manifest.graphs[0].file
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="is not the file that was exported"):
        bundle.read_file(bundle.manifest.graphs[0])


def test_a_file_that_is_not_a_graph(bundle_copy: Path) -> None:
    import hashlib

    content = json.loads((bundle_copy / MANIFEST_NAME).read_text())
    for graph in content["graphs"]:
        (bundle_copy / graph["file"]).write_bytes(b"not a graph")
        graph["sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    (bundle_copy / MANIFEST_NAME).write_text(json.dumps(content))
    import numpy as np

    with pytest.raises(BundleError, match="cannot be loaded: it has a field of the unknown kind"):
        Enhancer(bundle_copy, device="cpu").enhance(np.zeros((8, 8, 3), np.uint8))


def network(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((embedded_bundle() / MANIFEST_NAME).read_text())["network"]
    return facts | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "manifest has the unknown key 'colour'"),
        ({"network": None}, "manifest lacks 'network'"),
        ({"graphs": []}, "manifest.graphs is empty"),
        ({"graphs": {}}, "manifest.graphs must be a list"),
        ({"graphs": [1]}, r"manifest.graphs\[0\] must be an object"),
        ({"working_size_px": "big"}, "manifest.working_size_px is 'big', which is of the wrong type"),
        ({"working_size_px": 1}, "working_size_px is 1, at least 2 is needed"),
        ({"exporter": 3}, "manifest.exporter is 3, str is needed"),
        ({"network": {}}, "manifest.network lacks 'channels'"),
        ({"exporter": ["x" * 10**6]}, r"manifest.exporter is \['x{10,60}"),
        ({"provenance": {"a": [0] * 100_000}}, "has a list of 100000 entries, at most 1000 are allowed"),
        ({"network": network(bins=[64] * 100_000)}, "has a list of 100000 entries"),
        ({"network": network(bins=[64, 1])}, r"bins is \[64, 1\], sizes .* that add up to at most 64"),
        ({"network": network(bins=[64] * 999)}, "that add up to at most 64 are needed"),
        ({"network": network(bins=[0])}, "sizes of at least 1"),
        ({"network": network(channels=6000)}, "network.channels is 6000, a number from 1 to 256"),
        ({"network": network(channels=10**30)}, "network.channels is 10{30}, a number"),
        ({"network": network(halo_px=129)}, "network.halo_px is 129, a number from 0 to 128"),
        ({"network": network(context_halo_px=18)}, "context_halo_px is 18, a number from 0 to 17"),
        ({"working_size_px": 10**9}, "working_size_px is 1000000000, at least 2 is needed and at most 65536"),
    ],
)
def test_a_damaged_manifest(bundle_copy: Path, changes: dict[str, Any], message: str) -> None:
    change_manifest(bundle_copy, **changes)
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle_copy)


def test_a_graph_outside_the_bundle_is_refused(bundle_copy: Path) -> None:
    content = json.loads((bundle_copy / MANIFEST_NAME).read_text())
    content["graphs"][0]["file"] = "../secret.onnx"
    (bundle_copy / MANIFEST_NAME).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="must be a plain name inside the bundle"):
        read_bundle(bundle_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"format": true}'])
def test_a_manifest_that_is_none(bundle_copy: Path, text: str) -> None:
    (bundle_copy / MANIFEST_NAME).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json|bundle format"):
        read_bundle(bundle_copy)


@pytest.mark.parametrize("depth", [40, 900, 100_000])
def test_provenance_that_is_nested_deeply_is_refused(bundle_copy: Path, depth: int) -> None:
    file = bundle_copy / MANIFEST_NAME
    head, _, _ = file.read_text().partition('"provenance"')
    file.write_text(f'{head}"provenance": {{"a": {"[" * depth}{"]" * depth}}}}}')
    with pytest.raises(BundleError, match="nested more than 32 levels deep") as caught:
        read_bundle(bundle_copy)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(bundle_copy: Path, value: str) -> None:
    file = bundle_copy / MANIFEST_NAME
    file.write_text(file.read_text().replace('"exporter":', f'"provenance": {{"a": {value}}}, "exporter":'))
    with pytest.raises(BundleError, match=f"{value} is not a number of JSON"):
        read_bundle(bundle_copy)


def test_a_manifest_that_never_ends_is_not_read_to_its_end(bundle_copy: Path) -> None:
    file = bundle_copy / MANIFEST_NAME
    os.truncate(file, 1 << 40)  # sparse: takes no room
    with pytest.raises(BundleError, match="it is longer than 4 MiB, which no file of a bundle is"):
        read_bundle(bundle_copy)


def test_a_graph_that_never_ends_is_not_read_to_its_end(bundle_copy: Path) -> None:
    bundle = read_bundle(bundle_copy)
    os.truncate(bundle_copy / bundle.manifest.graphs[0].file, 1 << 40)
    with pytest.raises(BundleError, match=r"cannot be read: it is longer than \d+ MiB"):
        bundle.read_file(bundle.manifest.graphs[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST_NAME)
    with pytest.raises(BundleError, match="is damaged \\(it is not a file"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "a\nb", "a\x1b]0;b", "..", "a\\b", "a/b", ""])
def test_names_that_are_not_plain_are_refused(bundle_copy: Path, name: str) -> None:
    content = json.loads((bundle_copy / MANIFEST_NAME).read_text())
    content["graphs"][0]["file"] = name
    (bundle_copy / MANIFEST_NAME).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="must be a plain name inside the bundle"):
        read_bundle(bundle_copy)


def test_two_graphs_of_one_name_or_for_one_part_are_refused(bundle_copy: Path) -> None:
    content = json.loads((bundle_copy / MANIFEST_NAME).read_text())
    other = dict(content["graphs"][0])
    for change in ({}, {"file": content["graphs"][1]["file"], "image": None}):
        graphs = [*content["graphs"], other | change]
        (bundle_copy / MANIFEST_NAME).write_text(json.dumps(content | {"graphs": graphs}))
        with pytest.raises(BundleError, match="names a file twice, or two files for the same part"):
            read_bundle(bundle_copy)
