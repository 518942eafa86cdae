"""The state of a run, saved so that a resumed run ends with the same bits."""

from __future__ import annotations

import dataclasses
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from rave_train.checkpoint import load_checkpoint
from rave_train.errors import ConfigError, StateError, reason_of_loading
from rave_train.guidance.guidance import Guidance
from rave_train.guidance.options import PairOptions
from rave_train.loop.config import RunConfig
from rave_train.loop.schedule import RUNNING_LOSS_STEPS, Position, begin
from rave_train.network import PUBLISHED_CHANNELS, PUBLISHED_STD, EnhancementNetwork, Padding
from rave_train.whole_files import torch_file, write_whole

Weights = dict[str, Tensor]

_FORMAT: Final = 1

_REMEDY: Final = (
    "bring back a copy of it, or begin a new run, in another --out, from the weights beside it "
    "(--init-from checkpoints/last.safetensors)"
)
"""What to do where a state cannot be read: the weights alone are no state, but a start."""


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        network: the network that is trained.
        optimizer: the optimizer of the network.
        guidance: the guidance.
        guidance_optimizer: the optimizer of a guidance that learns, else None.
        scaler: the scaler of gradients in fp16; it does nothing in other precisions.
        position: the position of the next step.
        recent: total losses of the phase's last `RUNNING_LOSS_STEPS` steps.
        recent_psnr: luma PSNR between input and output over the last warm-up steps.
        attempt: how often the network was initialised anew.
        best: weights with the lowest running loss of this round, or None before the first comparison.
        best_loss: that loss.
        older_best: `best` of the round before, or None.
        best_psnr: highest mean PSNR on the validation pictures, dB.
        last_psnr: mean PSNR on the validation pictures at the last epoch, dB.
        input_psnr: mean PSNR of the validation pictures as they are, dB.
    """

    network: EnhancementNetwork
    optimizer: torch.optim.Optimizer
    guidance: Guidance
    guidance_optimizer: torch.optim.Optimizer | None
    scaler: torch.amp.GradScaler
    position: Position
    recent: list[float] = field(default_factory=list)
    recent_psnr: list[float] = field(default_factory=list)
    attempt: int = 0
    best: Weights | None = None
    best_loss: float = float("inf")
    older_best: Weights | None = None
    best_psnr: float = float("-inf")
    last_psnr: float = float("-inf")
    input_psnr: float = float("-inf")

    @property
    def running_loss(self) -> float:
        """Mean total loss over the last steps of the phase."""
        return sum(self.recent) / max(len(self.recent), 1)

    def note(self, loss: float, psnr_db: float | None) -> None:
        """Adds a step's total loss, and in the warm-up the luma PSNR between its input and output."""
        self.recent = [*self.recent, loss][-RUNNING_LOSS_STEPS:]
        if psnr_db is not None:
            self.recent_psnr = [*self.recent_psnr, psnr_db][-RUNNING_LOSS_STEPS:]

    def begin_round(self) -> None:
        """Begins a round: the best weights become the older ones, and new best ones are looked for."""
        self.older_best, self.best, self.best_loss = self.best, None, float("inf")

    def keep_if_best(self) -> bool:
        """Copies the weights if their running loss is the lowest of the round; returns whether it is."""
        if self.running_loss >= self.best_loss:
            return False
        self.best, self.best_loss = copy_weights(self.network), self.running_loss
        return True

    def save(self, file: Path, config: RunConfig) -> None:
        """Writes the state, whole or not at all, and the config that it is a state of.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        content = {
            "format": _FORMAT,
            "position": dataclasses.asdict(self.position),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guidance": self.guidance.state_dict(),
            "guidance_optimizer": self.guidance_optimizer and self.guidance_optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "recent": self.recent,
            "recent_psnr": self.recent_psnr,
            "attempt": self.attempt,
            "best": self.best,
            "best_loss": self.best_loss,
            "older_best": self.older_best,
            "best_psnr": self.best_psnr,
            "last_psnr": self.last_psnr,
            "input_psnr": self.input_psnr,
            "config": json.dumps(dataclasses.asdict(config)),
        }
        write_whole(file, torch_file(content))

    def load(self, file: Path) -> dict[str, Any]:
        """Replaces this state by a saved one.

        Returns:
            The config that was saved with it, as JSON values; empty for states of older versions, which hold
            no config.

        Raises:
            StateError: the file is missing, broken, or of another version or run.
        """
        content = read_state(file)
        try:
            self.network.load_state_dict(content["network"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.guidance.load_state_dict(content["guidance"])
            if self.guidance_optimizer is not None:
                self.guidance_optimizer.load_state_dict(content["guidance_optimizer"])
            if content["scaler"] and self.scaler.is_enabled():
                self.scaler.load_state_dict(content["scaler"])
            self.position = Position(**content["position"])
            torch.set_rng_state(content["random"])
            self.recent, self.recent_psnr = content["recent"], content["recent_psnr"]
            self.attempt = content["attempt"]
            self.best, self.best_loss = content["best"], content["best_loss"]
            self.older_best, self.best_psnr = content["older_best"], content["best_psnr"]
            self.last_psnr = content.get("last_psnr", self.last_psnr)
            self.input_psnr = content.get("input_psnr", self.input_psnr)
            config: dict[str, Any] = json.loads(content.get("config", "{}"))
        except (
            AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError,
        ) as error:  # fmt: skip
            raise StateError(
                f"{file} is not a state of this run ({reason_of_loading(error)}): {_REMEDY}"
            ) from error
        return config


def read_state(file: Path) -> dict[str, Any]:
    """Reads a file of `TrainingState.save`, as tensors and plain values by name.

    Raises:
        StateError: the file is missing, broken, or of another version.
    """
    if not file.is_file():
        raise StateError(f"{file}, without which a run cannot go on, is missing: {_REMEDY}")
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise StateError(
                f"{file} has state format {content['format']}, this version reads {_FORMAT}: resume it with "
                "the version that wrote it"
            )
    except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise StateError(
            f"{file} is not a state of a run, or damaged ({reason_of_loading(error)}): {_REMEDY}"
        ) from error
    return content


def new_state(
    config: RunConfig,
    network: EnhancementNetwork,
    guidance: Guidance,
    device: torch.device,
    precision: torch.dtype,
) -> TrainingState:
    """The state of a run before its first step.

    Args:
        config: the config of the run.
        network: the network, with its first weights.
        guidance: the guidance.
        device: where both are put.
        precision: the precision of the convolutions.
    """
    network = network.to(device)
    guidance = guidance.to(device)
    guidance_optimizer = None
    if isinstance(config.options, PairOptions):
        guidance_optimizer = torch.optim.Adam(
            guidance.parameters(),
            config.options.guidance_learning_rate,
            weight_decay=config.options.guidance_weight_decay,
        )
    return TrainingState(
        network,
        new_optimizer(config, network),
        guidance,
        guidance_optimizer,
        torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        begin(config.schedule()),
    )


def new_network(config: RunConfig, attempt: int) -> EnhancementNetwork:
    """The network before its first step, with the given weights or with drawn ones.

    Args:
        config: the config of the run.
        attempt: how often weights were drawn before; each number gives other weights.

    Raises:
        CheckpointError: the given weights cannot be read.
        ConfigError: they are of another width than the config asks for.
    """
    options = config.network
    padding = cast(Padding | None, options.padding)
    if options.init_from is not None:
        network = load_checkpoint(options.init_from, padding)
        if options.channels not in (None, network.channels):
            raise ConfigError(
                f"{options.init_from} has {network.channels} channels and {options.channels} were asked for: "
                "leave out one of them"
            )
        return network.to(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1000 * attempt)
        network = EnhancementNetwork(options.channels or PUBLISHED_CHANNELS, padding or "reflect")
        network.initialize(std=options.init_std or PUBLISHED_STD)
    if options.light_bias is not None:
        torch.nn.init.constant_(network.cond_add1.bias, options.light_bias)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)


def new_optimizer(config: RunConfig, network: EnhancementNetwork) -> torch.optim.Optimizer:
    """Adam with the config's learning rate and weight decay; all else is torch's default, as published."""
    options = config.network
    return torch.optim.Adam(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)


def copy_weights(network: EnhancementNetwork) -> Weights:
    """Copies of the network's tensors on the CPU, which further training does not change."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
