from __future__ import annotations

import json
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
    with pytest.raises(
        BundleError, match="has bundle format 2, this runtime reads 1: export it again with rave-export"
    ):
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


def test_a_graph_that_onnxruntime_cannot_load(bundle_copy: Path) -> None:
    import hashlib

    content = json.loads((bundle_copy / MANIFEST_NAME).read_text())
    for graph in content["graphs"]:
        (bundle_copy / graph["file"]).write_bytes(b"not a graph")
        graph["sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    (bundle_copy / MANIFEST_NAME).write_text(json.dumps(content))
    import numpy as np

    with pytest.raises(BundleError, match="cannot be loaded by onnxruntime"):
        Enhancer(bundle_copy, device="cpu").enhance(np.zeros((8, 8, 3), np.uint8))


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
