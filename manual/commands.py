"""Every command with its arguments, options and defaults, as the command line defines them."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from ssd_resnet34.cli.main import application

from .markdown import table

HOW_TO: Final = {"bench": "speed", "eval": "evaluate", "train": "training"}
"""Pages of commands that are not named like their command."""


def commands() -> str:
    """The page ``reference/commands.md``."""
    root = typer.main.get_command(application())
    parts = [
        "# Commands and options",
        "<!-- written by python -m manual: what `--help` shows -->",
        f"{root.epilog} Options `-h` and `--help` are everywhere.",
    ]
    for name, command in _leaves(root, "ssd-resnet34"):
        first = name.split()[1]
        page = HOW_TO.get(first, first)
        parts += [f"## `{name}`", _prose(command.help), f"How to: [{page}](../{page}.md)."]
        parts.append(_parameters(command))
    return "\n\n".join(part for part in parts if part) + "\n"


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for child in getattr(command, "commands", {}).values():
        if hasattr(child, "commands"):
            yield from _leaves(child, f"{name} {child.name}")
        else:
            yield f"{name} {child.name}", child


def _parameters(command: Any) -> str:
    rows = []
    for one in command.params:
        if one.name == "help":
            continue
        if one.param_type_name == "argument":
            name = one.metavar or one.name.upper()
            rows.append((f"`{name}`", "needed" if one.required else "", _prose(one.help)))
            continue
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        rows.append((names, _default(one), _prose(one.help)))
    return table(("argument or option", "default", "meaning"), rows) if rows else ""


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    value = option.default
    if value is None or value is False or value == () or callable(value):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _prose(text: str | None) -> str:
    """Help as Markdown: what looks like HTML or formatting is meant as it stands."""
    plain = (text or "").replace("\b", "").strip()
    return plain.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
