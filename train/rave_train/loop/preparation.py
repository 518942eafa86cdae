"""What happens before the first step of a run, new or resumed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any, Final

import torch

from rave_runtime.files.atomic import remove_abandoned
from rave_train.errors import ConfigError
from rave_train.fingerprint import hash_weights
from rave_train.loop.config import RunConfig
from rave_train.loop.device import pick_precision, precision_name
from rave_train.loop.distributed import Processes
from rave_train.loop.events import Listener
from rave_train.loop.ingredients import Ingredients, gather
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.state import TrainingState, new_network, new_state
from rave_train.network import EnhancementNetwork

_MAY_CHANGE: Final = ("device", "workers", "compile", "save_every", "epoch_steps", "cache")
"""Fields of a run's config that decide where and how it is computed, not what comes out."""


def prepare(
    config: RunConfig, run: RunFolder, resume: bool, device: torch.device, processes: Processes,
    listen: Listener,
) -> tuple[Ingredients, TrainingState, torch.dtype]:  # fmt: skip
    """Gathers a run's ingredients and its state, saved or new, alike in every process.

    A resumed run keeps the precision it began with, whatever "auto" would mean on this machine, and the
    kind of its network, whatever has become of the weights that it went on from.

    Raises:
        TrainError: options, data, encoders or the folder are not what is needed.
    """
    known = run.made_of() if resume else {}
    precision = pick_precision(known.get("precision", config.precision), device)
    first = (
        EnhancementNetwork(known["channels"], known["padding"]).to(memory_format=torch.channels_last)
        if "channels" in known
        else new_network(config, attempt=0)
    )
    if processes.leads and not resume:
        run.require_free()
    ingredients = gather(config, device, listen, known.get("identity_scale"))
    kept = {"precision": precision_name(precision), "channels": first.channels, "padding": first.padding}
    if config.network.init_from is not None:
        kept["first_weights"] = known.get("first_weights") or hash_weights(first)
    ingredients.made_of.update(kept)
    state = new_state(config, first, ingredients.guidance, device, precision)
    if resume:
        _require_same({**kept, **known}, ingredients.made_of, run)
        _require_same_config(state.load(run.state_file), config, run)
        if processes.leads:
            remove_abandoned(run.folder)
    elif processes.leads:
        _begin(config, run, ingredients, state)
    processes.agree(state.network)
    processes.agree(state.guidance)
    return ingredients, state, precision


def _begin(config: RunConfig, run: RunFolder, ingredients: Ingredients, state: TrainingState) -> None:
    """Writes a new run's first files; where that fails, the folder is left as it was."""
    existed = run.folder.is_dir()
    try:
        run.create()
        run.describe(ingredients.made_of, ingredients.data.report)
        state.save(run.state_file, config)
        config.write(run.config_file)
    except BaseException:
        for entry in run.folder.iterdir() if run.folder.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not existed and run.folder.is_dir():
            run.folder.rmdir()
        raise


def _require_same(written: dict[str, Any], facts: dict[str, Any], run: RunFolder) -> None:
    """A run goes on only with the pictures and encoders it began with."""
    other = [name for name, value in facts.items() if written.get(name) != value]
    if other:
        raise ConfigError(
            f"{run.folder} was begun with other values of {', '.join(other)}: bring the same data and "
            "encoders back, or begin a new run"
        )


def _require_same_config(saved: dict[str, Any], config: RunConfig, run: RunFolder) -> None:
    """A changed config would be followed in part only: phases keep the lengths they began with."""
    if not saved:
        return
    now = _flat(json.loads(json.dumps(dataclasses.asdict(config))))
    then = _flat(saved)
    changed = [name for name in now if name in then and name not in _MAY_CHANGE and now[name] != then[name]]
    if changed:
        raise ConfigError(
            f"{run.config_file} was changed after the run began ({', '.join(changed)}): change it back, or "
            f"begin a new run with it. Only {', '.join(_MAY_CHANGE)} may change; --lengthen adds steps to a "
            "finished run"
        )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a nested config by dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": of_inner for inner, of_inner in _flat(value).items()}
        else:
            found[name] = value
    return found
