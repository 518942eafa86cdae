"""What happens before the first step of a run, new or resumed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any, Final

import torch

from rave_runtime.files.partials import remove_abandoned
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
from rave_train.whole_files import make_folder_of

_MAY_CHANGE: Final = ("device", "workers", "compile", "save_every", "epoch_steps", "cache")
"""Fields of a run's config that do not change its result, only where and how fast it is computed."""


_SHOWN: Final = {
    "backlit_hash": "backlit pictures",
    "well_lit_pictures": "well-lit pictures",
    "well_lit_hash": "well-lit pictures",
    "guidance_encoder_hash": "weights of the guidance encoder",
    "identity_encoder_hash": "weights of the identity encoder",
}
"""What users call the facts of `made_of.json`; the others' names say it themselves."""


def prepare(
    config: RunConfig, run: RunFolder, resume: bool, device: torch.device, processes: Processes,
    listen: Listener,
) -> tuple[Ingredients, TrainingState, torch.dtype]:  # fmt: skip
    """Gathers a run's ingredients and its state, saved or new, alike in every process.

    A resumed run keeps the precision it began with, whatever "auto" would mean on this machine, and the width
    and padding of its network, even if the file of weights that it started from has changed.

    Returns:
        The ingredients, the state, and the precision of the convolutions.

    Raises:
        TrainError: options, data, encoders or the folder are not what is needed.
    """
    recorded = run.made_of() if resume else {}
    precision = pick_precision(recorded.get("precision", config.precision), device)
    first = (
        EnhancementNetwork(recorded["channels"], recorded["padding"]).to(memory_format=torch.channels_last)
        if "channels" in recorded
        else new_network(config, attempt=0)
    )
    if processes.leads:
        run.hold() if resume else run.require_free()
    ingredients = gather(config, device, listen, recorded.get("identity_scale"))
    facts = {"precision": precision_name(precision), "channels": first.channels, "padding": first.padding}
    if config.network.init_from is not None:
        facts["first_weights"] = recorded.get("first_weights") or hash_weights(first)
    ingredients.made_of.update(facts)
    state = new_state(config, first, ingredients.guidance, device, precision)
    if resume:
        require_same({**facts, **recorded}, ingredients.made_of, run)
        _require_same_config(state.load(run.state_file), config, run)
        if processes.leads:
            remove_abandoned(run.folder)
    elif processes.leads:
        _begin(config, run, ingredients, state)
    processes.agree(state.network)
    processes.agree(state.guidance)
    return ingredients, state, precision


def _begin(config: RunConfig, run: RunFolder, ingredients: Ingredients, state: TrainingState) -> None:
    """Writes a new run's first files; where that fails, the folder is left as it was.

    Raises:
        RunFolderError: another run has begun in the folder since it was found free.
    """
    existed = run.folder.is_dir()
    data = ingredients.data
    make_folder_of((photograph.file for photograph in (*data.backlit, *data.well_lit)), run.folder)
    run.hold()
    run.require_free()
    try:
        run.create()
        reports = filter(None, (data.report, ingredients.shown.report))
        run.describe(ingredients.made_of, "\n".join(reports))
        state.save(run.state_file, config)
        config.write(run.config_file)
    except BaseException:
        for entry in run.folder.iterdir() if run.folder.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not existed and run.folder.is_dir():
            run.folder.rmdir()
        raise


def require_same(recorded: dict[str, Any], facts: dict[str, Any], run: RunFolder) -> None:
    """Checks that a run's pictures and encoders are those it began with.

    Args:
        recorded: the values of `made_of.json`.
        facts: some of them, as they are found now.
        run: the folder of the run.

    Raises:
        ConfigError: a value differs.
    """
    differing = [name for name, value in facts.items() if recorded.get(name) != value]
    if differing:
        shown = dict.fromkeys(_SHOWN.get(name, name.replace("_", " ")) for name in differing)
        raise ConfigError(
            f"{run.folder} was begun with other {', '.join(shown)}: bring the same data and encoders back, "
            "or begin a new run"
        )


def _require_same_config(saved: dict[str, Any], config: RunConfig, run: RunFolder) -> None:
    """Checks that the config has not changed; a resumed run would follow a changed one in part only.

    Phases, for example, keep the lengths they began with.

    Raises:
        ConfigError: a field has changed that may not.
    """
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
    """The values of a nested config by dotted names, such as "network.batch"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": of_inner for inner, of_inner in _flat(value).items()}
        else:
            flat[name] = value
    return flat
