"""What a run was asked to do: plain values, written beside its results and read again to resume."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args, get_type_hints

from rave_runtime.bundle.limits import MAX_CHANNELS
from rave_train.encoders.spec import (
    PUBLISHED_GUIDANCE_ENCODER,
    PUBLISHED_IDENTITY_ENCODER,
    is_published_guidance,
)
from rave_train.errors import ConfigError
from rave_train.guidance.options import ClipLitLatentOptions, ClipLitOptions, PairOptions, RaveOptions
from rave_train.loop.schedule import Schedule
from rave_train.whole_files import write_whole

PUBLISHED_WARM_UP_STEPS: Final = 1000

T = TypeVar("T")
MethodOptions = RaveOptions | ClipLitOptions | ClipLitLatentOptions

METHODS: Final[dict[str, type[MethodOptions]]] = {
    "rave": RaveOptions,
    "clip-lit": ClipLitOptions,
    "clip-lit-latent": ClipLitLatentOptions,
}


@dataclass(frozen=True)
class DataOptions:
    """Which pictures to train on.

    Attributes:
        backlit: folder, or a data set in the layout of BAID or LOL.
        well_lit: folder, or a data set in the layout of BAID, LOL or DIV2K.
        paired: use only pictures with a partner of the same name, or all of both folders; if not
            given, only pairs where at least half of the backlit pictures have a partner.
        validation_backlit: held-out backlit pictures, enhanced once per epoch; their PSNR then chooses
            the best checkpoint.
        validation_well_lit: their partners.
    """

    backlit: str
    well_lit: str
    paired: bool | None = None
    validation_backlit: str | None = None
    validation_well_lit: str | None = None


@dataclass(frozen=True)
class NetworkOptions:
    """How the enhancement network is trained; the defaults are the published values.

    Attributes:
        size_px: side of the squashed training pictures, pixels.
        batch: pictures per step, over all processes.
        accumulate: number of parts in which a process works through its share of a batch; more parts need
            less memory and give the same result.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        warm_up: number of steps on the identity loss alone; if not given, 1000, and none for given weights.
        identity_weight: weight of the identity term after the warm-up. It means the same with every encoder:
            the term of another one than CLIP's RN101 is brought to RN101's scale first.
        squash_by: how pictures are brought to an encoder's size in the losses: antialiased as the encoder was
            trained, or bilinear without antialiasing as published.
        pixel_loss: weight of an L1 loss against the partners; 0 leaves it out, others need pairs. The loss is
            about 0.1, the other terms about 10 to 100, so that it takes a weight such as 200 to count.
        light_bias: level at which the illumination map starts; if not given, upstream's random bias, with
            which runs often collapse and begin again; 0.7 avoids that.
        init_std: standard deviation of the initial weights; if not given, the published 0.02, with which
            the map starts flat, and short runs with a high learning rate learn little but its level; 0.05
            helps them.
        init_from: weights to begin with instead: a checkpoint, a bundle that holds one, or the word
            "embedded" for those of the model that comes with rave-run.
        channels: width of the outer blocks, a multiple of 4; if not given, as many as the given weights have,
            or the published 32. The embedded model has 16, a quarter of the work.
        padding: borders of the four outer convolutions, reflect or zeros; if not given, that of the given
            weights, or reflect.
    """

    size_px: int = 512
    batch: int = 8
    accumulate: int = 1
    learning_rate: float = 2e-5
    weight_decay: float = 1e-3
    warm_up: int | None = None
    identity_weight: float = 0.9
    squash_by: str = "antialiased"
    pixel_loss: float = 0.0
    light_bias: float | None = None
    init_std: float | None = None
    init_from: str | None = None
    channels: int | None = None
    padding: str | None = None

    @property
    def warm_up_steps(self) -> int:
        """`warm_up`, or its default: none for given weights, which have had their warm-up."""
        if self.warm_up is not None:
            return self.warm_up
        return PUBLISHED_WARM_UP_STEPS if self.init_from is None else 0


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result, and where to compute it.

    Attributes:
        method: a name of `METHODS`.
        options: the method's own.
        data: which pictures.
        network: how the network is trained.
        encoder: encoder that guides, SOURCE:MODEL[,key=value...][@WEIGHTS] as in open_clip:ViT-B-32@openai or
            timm:resnet50@FILE.
        identity_encoder: encoder of the identity loss; if not given, the published one
            (open_clip:RN101@openai) beside the published guidance encoder, whether that is given by its tag
            or by a file, and the guidance encoder itself beside any other.
        seed: seed of every random choice.
        precision: precision of the convolutions, fp32, bf16 or fp16; "auto" is bf16 on a GPU or CPU that
            multiplies it natively, fp16 on another GPU, fp32 on another CPU.
        compile: whether torch.compile builds the network.
        device: the word cpu, the word cuda, or "auto" for the GPU where there is one.
        workers: number of processes that decode and augment; if not given, 4 with a GPU and 0 without.
        epoch_steps: number of enhancement steps between two picture grids and validations; if not given, as
            many passes over the backlit pictures as reach 100 steps.
        save_every: number of steps between two saved states.
        cache: folder in which embeddings are kept; if not given, the user's cache (RAVE_CACHE_DIR moves it).
    """

    method: str
    options: MethodOptions
    data: DataOptions
    network: NetworkOptions = field(default_factory=NetworkOptions)
    encoder: str = PUBLISHED_GUIDANCE_ENCODER
    identity_encoder: str | None = None
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"
    workers: int | None = None
    epoch_steps: int | None = None
    save_every: int = 100
    cache: str | None = None

    @property
    def identity_encoder_name(self) -> str:
        """`identity_encoder`, or the name that stands for it by default."""
        if self.identity_encoder is not None:
            return self.identity_encoder
        published = is_published_guidance(self.encoder)
        return PUBLISHED_IDENTITY_ENCODER if published else self.encoder

    def schedule(self) -> Schedule:
        """Lengths of the run's phases."""
        if isinstance(self.options, PairOptions):
            options = self.options
            return Schedule(
                initialize=options.initialize_steps,
                warm_up=self.network.warm_up_steps,
                enhance=options.enhance_steps,
                refine=options.refine_steps,
                rounds=options.rounds,
                extensions=options.extensions,
            )
        return Schedule(0, self.network.warm_up_steps, self.options.iterations, 0, 1)

    def check(self) -> None:
        """Finds contradictions before anything is loaded.

        Raises:
            ConfigError: an option is out of range or contradicts another.
        """
        network, options = self.network, self.options
        for part in (network, options):
            for name, value in dataclasses.asdict(part).items():
                finite = not isinstance(value, float) or math.isfinite(value)
                _require(finite, f"{name.replace('_', ' ')} is {value}, a number is needed")
        _require(network.size_px >= 16, f"size is {network.size_px} px, at least 16 are needed")
        _require(network.batch >= 1, f"batch is {network.batch}, at least 1 is needed")
        _require(network.accumulate >= 1, f"accumulate is {network.accumulate}, at least 1 is needed")
        _require(
            network.learning_rate > 0, f"learning rate is {network.learning_rate}, more than 0 is needed"
        )
        at_least_0 = {
            "weight decay": network.weight_decay,
            "identity weight": network.identity_weight,
            "guidance weight": options.guidance_weight,
            "pixel loss": network.pixel_loss,
        }
        if isinstance(options, PairOptions):
            rate = options.guidance_learning_rate
            _require(rate > 0, f"guidance learning rate is {rate}, more than 0 is needed")
            at_least_0["guidance weight decay"] = options.guidance_weight_decay
        for name, value in at_least_0.items():
            _require(value >= 0, f"{name} is {value}, 0 or more is needed")
        _require(network.warm_up_steps >= 0, f"warm-up is {network.warm_up} steps, 0 or more is needed")
        _require(0 <= self.seed < 2**62, f"seed is {self.seed}, 0 or more and less than 2^62 is needed")
        _require(self.workers is None or self.workers >= 0, f"workers is {self.workers}, 0 or more is needed")
        _require(self.save_every >= 1, f"save every {self.save_every} steps: at least 1 is needed")
        _require(self.epoch_steps is None or self.epoch_steps >= 1, "an epoch needs at least one step")
        _require(self.schedule().rounds >= 1, "at least one round is needed")
        _require(
            self.schedule().enhance >= 1,
            "the run has no enhancement steps: give iterations, or rounds with steps",
        )
        _require(
            network.squash_by in ("antialiased", "bilinear"),
            f"squash by is {network.squash_by!r}: antialiased or bilinear is needed",
        )
        std = network.init_std
        _require(std is None or std > 0, f"init std is {std}, more than 0 is needed")
        _require(
            network.padding in (None, "reflect", "zeros"), f"padding is {network.padding!r}: reflect or zeros"
        )
        channels = network.channels
        _require(
            channels is None or (4 <= channels <= MAX_CHANNELS and channels % 4 == 0),
            f"channels is {channels}, a multiple of 4 up to {MAX_CHANNELS} is needed",
        )
        _require(
            network.init_from is None or (network.light_bias is None and std is None),
            "--light-bias and --init-std set fresh weights, --init-from brings others: give one or the other",
        )
        _require(
            self.precision in ("auto", "fp32", "bf16", "fp16"),
            f"precision is {self.precision!r}: auto, fp32, bf16 or fp16 is needed",
        )
        if isinstance(options, RaveOptions):
            _require(
                options.shift_tokens >= 0, f"shift tokens is {options.shift_tokens}, 0 or more is needed"
            )
            _require(options.guide_token != "", "guide token is empty: give a word, or leave it out")
        if isinstance(options, PairOptions):
            _require(options.guidance_batch >= 2, "a guidance batch needs a backlit and a well-lit picture")
            _require(options.views >= 1, "at least one view of each picture is needed")
            _require(
                options.view_size_px >= 16, f"view size is {options.view_size_px} px, at least 16 are needed"
            )
            for name in ("initialize_steps", "refine_steps"):
                steps = getattr(options, name)
                _require(steps >= 0, f"{name.replace('_', ' ')} is {steps}, 0 or more is needed")
        _require(
            not (network.pixel_loss and self.data.paired is False),
            "a pixel loss compares partners: leave out --unpaired, or --pixel-loss",
        )
        _require(
            (self.data.validation_backlit is None) == (self.data.validation_well_lit is None),
            "validation needs both sides: backlit pictures and their well-lit partners",
        )

    def write(self, file: Path) -> None:
        """Writes it as JSON."""
        write_whole(file, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def read_config(file: Path) -> RunConfig:
    """Reads what `RunConfig.write` wrote.

    Raises:
        ConfigError: no such file, not JSON, or a key that this version does not know.
    """
    if not file.is_file():
        folder = file.parent if file.name == "config.json" else file
        raise ConfigError(f"{folder} is not the folder of a rave-train run: it holds no config.json")
    try:
        values = cast(dict[str, Any], json.loads(file.read_text(encoding="utf-8")))
        options = _build(METHODS[values["method"]], values.pop("options"))
        data = _build(DataOptions, values.pop("data"))
        network = _build(NetworkOptions, values.pop("network"))
        return _build(RunConfig, {"options": options, "data": data, "network": network, **values})
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error.args[0]}" if isinstance(error, KeyError) else error
        raise ConfigError(f"{file} is not a config that this version can read: {reason}") from error


def _build(kind: type[T], values: dict[str, Any]) -> T:
    """Makes an instance of a dataclass from values by field name as JSON gives them.

    Raises:
        TypeError: a name is unknown or missing, or a value is of another type.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise TypeError(f"{name!r} is no option; known are {', '.join(hints)}")
        hint = hints[name]
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        types = get_args(hint) or (hint,)
        if not ((is_whole and float in types) or (type(value) in types) or hint is object):
            words = " or ".join(kind.__name__ for kind in types).replace("NoneType", "null")
            raise TypeError(f"{name} is {value!r}, {words} is needed")
    return kind(**values)


def _require(holds: bool, message: str) -> None:
    """Raises ConfigError with the message unless a condition holds."""
    if not holds:
        raise ConfigError(message)
