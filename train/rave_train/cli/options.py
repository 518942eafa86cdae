"""Command-line options made from the fields of the option dataclasses, which stay their only home."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.markup import escape

from rave_train.cli.terminal import errors_on_one_line


def command_with_options(
    sources: list[tuple[str, type, tuple[str, ...]]],
    run: Callable[[Path, dict[str, Any]], None],
    doc: str,
    values_of: Callable[[Path], dict[str, Any]],
) -> Callable[..., None]:
    """A function that typer turns into a command: one option per dataclass field, --out and --config.

    Args:
        sources: title of the help panel, dataclass, and names of fields to leave out. Fields without
            a default become arguments, which only --config can replace.
        run: called with the output folder and the values by field name.
        doc: help of the command.
        values_of: reads the file of --config: values by field name.
    """
    arguments: list[inspect.Parameter] = []
    options: list[inspect.Parameter] = []
    for panel, source, left_out in sources:
        types = get_type_hints(source)
        helps = {name: escape(text) for name, text in field_helps(source).items()}
        for entry in dataclasses.fields(source):
            if entry.name in left_out:
                continue
            required = entry.default is dataclasses.MISSING
            text = helps.get(entry.name)  # there are none where Python drops docstrings (-OO)
            info: Any
            if required:
                info = typer.Argument(help=text, metavar=entry.name.upper(), show_default=False)
            else:
                info = typer.Option(*_flags(entry.name), help=text, rich_help_panel=panel)
            parameter = inspect.Parameter(
                entry.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None if required else entry.default,
                annotation=Annotated[types[entry.name] | None if required else types[entry.name], info],
            )
            (arguments if required else options).append(parameter)
    out = inspect.Parameter(
        "out",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[Path, typer.Option("--out", help="Folder of the run; new or empty.")],
    )

    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option("--config", help="A run's folder or config.json, for what is not given here."),
        ],
    )
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def command(ctx: typer.Context, out: Path, config: Path | None, **values: Any) -> None:
        if config is not None:
            with errors_on_one_line():
                config_values = values_of(config)
            command_line_names = {name for name in values if not _is_default(ctx, name)}
            values |= {name: value for name, value in config_values.items() if name not in command_line_names}
        for argument in arguments:
            if values[argument.name] is None:
                raise typer.BadParameter("a folder is needed", param_hint=argument.name.upper())
        run(out, values)

    parameters = [context, *arguments, out, config, *options]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = doc
    return command


def field_helps(source: type) -> dict[str, str]:
    """What the docstrings of a dataclass and its bases say under `Attributes:`, by field name."""
    helps: dict[str, str] = {}
    for base in reversed(source.__mro__[:-1]):
        _, _, listed = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n      .*)*)", listed, re.MULTILINE):
            sentence = " ".join(text.split())
            helps[name] = sentence[0].upper() + sentence[1:]
    return helps


def _is_default(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is None or source.name == "DEFAULT"


def _flags(name: str) -> list[str]:
    if name == "paired":
        return ["--paired/--unpaired"]
    return ["--" + name.replace("_", "-")]
