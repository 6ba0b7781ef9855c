"""The help page of each command, and what is printed for an unknown command or option."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cli.help.layout import definitions, heading, indented, joined, page_width, paragraphs
from cli.output.messages import say
from seen_local.late_settings import settings_module

Command = TypeVar("Command", bound=Callable[..., Any])

#: The section of options that name no other one.
_OPTIONS, _COMMANDS, _ARGUMENTS = "Options", "Commands", "Arguments"


#: Commands without warnings: they report unknown variables as problems, or need no settings.
_WITHOUT_WARNINGS = frozenset({"doctor", "help", "completion"})


class SeenCommand(TyperCommand):
    """A command with our help page."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, after a warning for each variable that is named like a setting."""
        if self.name not in _WITHOUT_WARNINGS:
            _warn_of_unknown_variables()
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(_page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an unknown option is answered with the nearest one."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            _refuse_unknown_option(self, ctx, error)
            raise


def _warn_of_unknown_variables() -> None:
    if any(name.upper().startswith("SEEN_") for name in os.environ):
        for text in settings_module.unknown_variables():
            say(f"warning: {text}")


class SeenGroup(TyperGroup):
    """A group of commands with our help page; without arguments it prints that page."""

    command_class = SeenCommand
    _interrupt: KeyboardInterrupt | None = None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page."""
        formatter.write(_page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments up to the command; without any, print the help page and exit with 0."""
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            self._refuse_option_of_command(ctx, words, error)
            _refuse_unknown_option(self, ctx, error)
            raise

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command. An interrupt is raised; Typer's own method would return a status for it."""
        self._interrupt = None
        status = super().main(*args, **options)
        if self._interrupt is not None:
            raise self._interrupt
        return status

    def invoke(self, ctx: Any) -> Any:
        """Run the command of this group."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            self._interrupt = interrupt
            raise

    def _refuse_option_of_command(
        self, ctx: Any, words: list[str], error: typer.TyperException
    ) -> None:
        """Raise an error that says where an option belongs which stands before its command."""
        option = str(getattr(error, "option_name", ""))
        command = next((word for word in words if word in self.commands), None)
        if command is not None and option in _option_names(self.commands[command], ctx):
            right = f"{ctx.command_path} {command} {option}"
            ctx.fail(f"The option {option} belongs behind its command: `{right}`.")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an unknown one is answered with the nearest ones of all groups."""
        typed = args[0]
        if self.get_command(ctx, typed) is None and not ctx.resilient_parsing:
            from cli.command_table import application  # this call may have registered one command
            from cli.help import nearest

            root = ctx.find_root().command
            if len(root.commands) == 1:
                root = typer.main.get_command(application())
            paths = list(command_paths(root))
            group = ctx.command_path.split()[1:]
            ctx.fail(nearest.unknown_command(typed, args[1:], paths, group))
        return super().resolve_command(ctx, args)


class SeenTyper(typer.Typer):
    """A Typer application whose commands have our help pages."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=SeenGroup,
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings={"help_option_names": ["-h", "--help"]},
            **options,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:
        """Register a command."""
        return super().command(name, cls=SeenCommand, **options)


def command_paths(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command below a group, groups included: ``("cache", "stats")``."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield (*prefix, name)
        if isinstance(command, TyperGroup):
            yield from command_paths(command, (*prefix, name))


def _refuse_unknown_option(command: Any, ctx: Any, error: typer.TyperException) -> None:
    """Raise an error that names the nearest option, if `error` is about an unknown one."""
    if not hasattr(error, "possibilities"):
        return
    from cli.help import nearest

    typed = str(getattr(error, "option_name", ""))
    ctx.fail(nearest.unknown_option(typed, _option_names(command, ctx)))


def _option_names(command: Any, ctx: Any) -> list[str]:
    """Return the options of a command that are not hidden."""
    return [
        name
        for option in command.get_params(ctx)
        if isinstance(option, TyperOption) and not option.hidden
        for name in (*option.opts, *option.secondary_opts)
    ]


# ── the page ────────────────────────────────────────────────────────────────────────────────────


def _page(command: Any, ctx: Any) -> str:
    width = page_width()
    parameters = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    sections = [
        definitions_of_usage(command, ctx, parameters, width),
        paragraphs(inspect.cleandoc(command.help or ""), width),
    ]
    for title, rows in _sections(command, parameters).items():
        sections.append([heading(title), *definitions(rows, width)])
    if command.epilog:
        for block in inspect.cleandoc(command.epilog).split("\n\n"):
            title, _, lines = block.partition(":\n")
            sections.append([heading(title), *indented(inspect.cleandoc(lines), width)])
    return joined(sections) + "\n"


def definitions_of_usage(command: Any, ctx: Any, parameters: list[Any], width: int) -> list[str]:
    """Return the lines that show how the command is called."""
    words = ["[OPTIONS]"]
    words += [_argument_name(one) for one in parameters if isinstance(one, TyperArgument)]
    if isinstance(command, TyperGroup):
        words.append("COMMAND …")
    first, *rest = paragraphs(f"{ctx.command_path} {' '.join(words)}", width - 7)
    return [f"{heading('Usage')} {first}", *(f"{'':7}{line}" for line in rest)]


def _sections(command: Any, parameters: list[Any]) -> Mapping[str, list[tuple[str, str]]]:
    """Return the names and explanations of each section, in their order."""
    sections: dict[str, list[tuple[str, str]]] = {}
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            if not one.hidden:
                title = getattr(one, "rich_help_panel", None) or _COMMANDS
                sections.setdefault(title, []).append((name, _summary(one)))
    for parameter in parameters:
        if isinstance(parameter, TyperArgument):
            row = (_argument_name(parameter).strip("[]"), parameter.help or "")
            sections.setdefault(_ARGUMENTS, []).append(row)
    options = [one for one in parameters if isinstance(one, TyperOption)]
    has_short = any(_is_short(name) for one in options for name in one.opts)
    rows_of_help = sections.pop(_OPTIONS, [])
    for option in options:
        title = option.rich_help_panel or _OPTIONS
        row = (_option_name(option, has_short=has_short), _option_help(option))
        (rows_of_help if title == _OPTIONS else sections.setdefault(title, [])).append(row)
    sections[_OPTIONS] = rows_of_help
    return sections


def _summary(command: Any) -> str:
    """Return the first paragraph of a command's help."""
    return " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())


def _argument_name(argument: TyperArgument) -> str:
    name = argument.metavar or argument.name.upper()
    if argument.nargs != 1:
        name += "…"
    return name if argument.required else f"[{name}]"


def _option_name(option: TyperOption, *, has_short: bool) -> str:
    """Return ``-o, --output DIR``; options without a short name are aligned with the others."""
    short = [name for name in option.opts if _is_short(name)]
    long = [name for name in option.opts if not _is_short(name)]
    if option.secondary_opts:
        long = [f"--[no-]{name.removeprefix('--')}" for name in long]
    names = ", ".join([*short, *long])
    if has_short and not short:
        names = f"    {names}"
    value = option_value(option)
    return f"{names} {value}" if value else names


def option_value(option: TyperOption) -> str:
    """Return the word for an option's value; empty for a flag."""
    if option.is_flag:
        return ""
    if option.metavar is not None:
        return option.metavar
    choices = option.type_descriptor.choices if option.type_descriptor.is_choice else None
    if choices is None:
        return "VALUE"
    return "|".join(str(getattr(one, "value", one)) for one in choices)


def _option_help(option: TyperOption) -> str:
    """Return the explanation of an option, with its default where that is a value."""
    default = option.default
    text = (option.help or "").rstrip(".")
    if option.required:
        return f"{text} (required)."
    if isinstance(default, bool) or default in (None, "", ()) or option.is_flag:
        return f"{text}."
    shown = default.value if isinstance(default, Enum) else default
    shown = f"{shown:,}" if isinstance(shown, int) else shown
    return f"{text} (default {shown})."


def _is_short(name: str) -> bool:
    return not name.startswith("--")
