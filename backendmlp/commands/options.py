"""Types of options' values, and help under several headings."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click

from backendmlp.commands import words
from backendmlp.data.checks import repeated


class PathName(click.ParamType):
    """A path; an empty one, as an unset variable of a shell gives, is not the current folder."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        if value == "" or "\0" in str(value):
            self.fail(f"{value!r} cannot be a path; name a file or folder", param, ctx)
        return Path(value)


class Interval(click.ParamType):
    """``3`` for epochs, ``5m`` for minutes."""

    name = "epochs|minutes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int | None, float | None]:
        if isinstance(value, tuple):
            return value
        try:
            if value.endswith("m"):
                minutes = float(value[:-1])
                if 0 < minutes < 1e9:
                    return None, minutes * 60
            elif int(value) > 0:
                return int(value), None
        except ValueError:
            pass
        return self.fail(f"{value!r} is neither epochs (3) nor minutes (5m)", param, ctx)


class Hidden(click.ParamType):
    """``256,128`` for two layers, ``none`` or ``0`` for none at all."""

    name = "units"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if value.strip().lower() in ("none", "0"):
            return ()
        try:
            return tuple(map(int, value.split(",")))
        except ValueError:
            return self.fail(
                f"{value[:80]!r} is no number of units; give one for each hidden layer, as "
                "256,128, or none",
                param,
                ctx,
            )


ClassWeight = str | tuple[float, ...] | dict[str, float]


class ClassWeights(click.ParamType):
    """``balanced``, ``1,2,0.5`` for each class, or ``NAME=2,OTHER=0.5`` for some of them."""

    name = "weights"

    def convert(self, value: Any, param: Any, ctx: Any) -> ClassWeight:
        if not isinstance(value, str) or value == "balanced":
            return value
        try:
            if "=" not in value:
                return tuple(map(float, value.split(",")))
            named = [entry.rpartition("=") for entry in value.split(",")]
            names = [name.strip() for name, _, _ in named]
            found = dict(zip(names, (float(number) for _, _, number in named), strict=True))
        except ValueError:
            names, found = [], {}
        if (twice := repeated(names)) is not None:
            self.fail(f"{value[:80]!r} weighs {twice!r} twice; weigh it once", param, ctx)
        if not found or "" in found:
            self.fail(
                f"{value[:80]!r} weighs no classes; give balanced, a number for each class, as "
                "1,2,0.5, or those of some by name, as Bag=2,Coat=0.5",
                param,
                ctx,
            )
        return found


class Known(click.Choice):  # type: ignore[type-arg]
    """One of several words, which other programs may spell differently."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, str):
            value = value.lower().replace("-", "_")
            other = words.CHOICES.get(value)
            if value not in self.choices and other in self.choices:
                self.fail(f"{value!r} is not known. Did you mean {other!r}?", param, ctx)
        return super().convert(value, param, ctx)


class Option(click.Option):
    """An option that stands in a ``section`` of its command's help."""

    def __init__(self, *names: Any, section: str = "Options", **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section


class Commands(click.Group):
    """Commands, of which the closest is named where somebody asks for one that is not there."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and name[:1] != "-":
            close = difflib.get_close_matches(name.lower(), [*known, *words.COMMANDS], 1)
            meant = words.COMMANDS.get(close[0], close[0]) if close else ""
            hint = f" Did you mean {meant}?" if meant else ""
            ctx.fail(f"No such command {name!r:.80}.{hint} There are {', '.join(known)}.")
        return super().resolve_command(ctx, args)


class Sectioned(click.Command):
    """A command whose help shows its options under several headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
