"""What the container's files say fits what the program takes. Building the image needs a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.serve.cli import make_parser
from rave_runtime.serve.page import PAGE_FILES

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(not (ROOT / "Dockerfile").is_file(), reason="needs the repository")


def read_all(name: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((ROOT / name).read_text()))


def test_the_image_has_no_root_and_checks_itself() -> None:
    text = (ROOT / "Dockerfile").read_text()
    last = text[text.rindex("\nFROM ") :]
    for line in ("USER 65532:65532", "HEALTHCHECK", "ORT_DISABLE_TELEMETRY=1", "RAVE_CACHE_DIR=\n"):
        assert line in last, line
    assert "apt-get" not in last
    assert "TARGETARCH" not in text
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


def test_what_compose_grants() -> None:
    (service,) = read_all("compose.yaml")[0]["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "RAVE_SERVE_TOKEN" in service["environment"]


def test_kubernetes_asks_what_the_service_answers() -> None:
    deployment = next(one for one in read_all("examples/kubernetes.yaml") if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = make_parser().parse_args(container["args"])
    assert pod["terminationGracePeriodSeconds"] > options.drain_s + 5
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_nginx_as_told_keeps_bodies_off_its_disk() -> None:
    """With HTTP/1.0 towards the service, nginx writes bodies that come in chunks to a file all the same."""
    found = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "serving.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    directives = dict(re.findall(r"^ +(\w+) ([^;]+);", found[1], re.MULTILINE))
    assert directives["proxy_request_buffering"] == "off"
    assert directives["proxy_http_version"] == "1.1"
    assert directives["proxy_max_temp_file_size"] == "0"
    assert directives["proxy_set_header"] == "Host $http_host"


def test_the_page_works_below_a_path() -> None:
    """A proxy may offer the service below a path, so no address on the page may begin at the root."""
    named = re.compile(r"""(?:src=|href=|from |import\(|import |ask\(|fetch\()["'`]([^"'`]*)""")
    addresses = [
        address
        for file in PAGE_FILES.values()
        for address in named.findall(file.content.decode())
        if not address.startswith("data:")
    ]
    assert len(addresses) > 10
    assert [address for address in addresses if address.startswith("/") or "://" in address] == []
