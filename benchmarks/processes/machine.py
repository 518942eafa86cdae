"""Describes the machine on which a measurement is made."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rave_runtime.backends.limits import machine_memory_mib, usable_processors

PACKAGES = (
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "numpy",
    "scipy",
)
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "i8mm")


@dataclass(frozen=True)
class Machine:
    """A machine and its software.

    Attributes:
        processor: name of the processor.
        cores: number of logical cores that this process may use, by the system and a container.
        instructions: which of `INSTRUCTIONS` the processor has.
        memory_gib: the memory of the whole machine, in GiB; 0 where the system does not tell.
        system: operating system and architecture.
        python: version of Python.
        packages: version by name of those of `PACKAGES` that are installed.
        gpu: name and driver of the first GPU, or None.
    """

    processor: str
    cores: int
    instructions: tuple[str, ...]
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]
    gpu: str | None

    def line(self) -> str:
        """One line about the machine, for the foot of a table."""
        features = f" ({', '.join(self.instructions)})" if self.instructions else ""
        gpu = f", {self.gpu}" if self.gpu else ""
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        return (
            f"{self.cores} cores of {self.processor}{features}, {self.memory_gib:.0f} GiB{gpu}; "
            f"{self.system}, Python {self.python}, {versions}"
        )


def describe_machine() -> Machine:
    """Describes the machine that runs this."""
    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        processor=fields.get("model name") or platform.processor() or platform.machine(),
        cores=usable_processors(),
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        memory_gib=round((machine_memory_mib() or 0) / 1024, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=packages,
        gpu=_gpu(),
    )


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; none on systems without that file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _gpu() -> str | None:
    """Name and driver of the first NVIDIA GPU, or None."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
