"""What the commands share: flags made from the configuration, and errors in one sentence."""

from __future__ import annotations

import dataclasses
import inspect
import io
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional, cast

import typer
from click import Abort, ClickException

from fedtl.config import RunConfig, rules
from fedtl.config_key import kebab
from fedtl.errors import FedtlError
from fedtl.interruption import ended_by_signals
from fedtl.unforeseen import is_let_through, unforeseen

# What typer returns where Ctrl-C ended the command.
_INTERRUPTED = 130


def config_parameters(
    *, listed: Collection[str] = (), without: Collection[str] = ()
) -> list[inspect.Parameter]:
    """Return one optional flag per configuration key, for a typer command's signature.

    A flag that is not given is ``None``, so that a TOML file's value stands.

    Args:
        listed: Keys whose flags take several values, as one text with commas.
        without: Keys that get no flag.
    """
    parameters = []
    known = rules()
    for field in dataclasses.fields(RunConfig):
        key, kind = kebab(field.name), type(field.default)
        if key in without:
            continue
        rule = known[key]
        # A truth value among several is a text: false,true.
        whole = kind is not bool or key in listed
        names = [f"--{key}"] if whole else [f"--{key}/--{_negated(key)}"]
        option = typer.Option(
            *names,
            help=rule.help,
            show_default=str(field.default) if field.default != "" else False,
            rich_help_panel=rule.section,
            metavar=" ".join(rule.words) or _metavar(kind, rule.choices, listed=key in listed),
        )
        if key in listed:
            kind = str
        elif rule.words:
            kind = cast(type, tuple[(str,) * len(rule.words)])  # type: ignore[misc]
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[Optional[kind], option],  # noqa: UP045 - typer reads it
            )
        )
    return parameters


def _negated(key: str) -> str:
    """Return the flag that switches a key off; the first word tells, and leaves room for others."""
    if key.startswith("no-"):
        return key.removeprefix("no-") + "-on"
    return f"no-{key.partition('-')[0]}"


def _metavar(kind: type, choices: tuple[str, ...], *, listed: bool) -> str | None:
    if choices:
        return "|".join(choices)
    if listed:
        return "VALUES"
    return {int: "N", float: "X", str: "TEXT"}.get(kind)


def with_config(
    command: Callable[..., None], *, listed: Collection[str] = (), without: Collection[str] = ()
) -> Callable[..., None]:
    """Give a command that takes ``flags`` a flag per configuration key.

    The command's own parameters come first; the flags that were given arrive in its ``flags``, a
    mapping of kebab-case keys. See :func:`config_parameters`.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "flags"]
    flags = config_parameters(listed=listed, without=without)
    names = [flag.name for flag in flags]

    @wraps(command)
    def wrapped(**values: Any) -> None:
        given = {
            kebab(name): " ".join(value) if isinstance(value, tuple) else value
            for name in names
            if (value := values.pop(name)) is not None
        }
        command(**values, flags=given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*parameters, *flags]
    )
    wrapped.__annotations__ = {}
    return wrapped


def absolute_paths(config: RunConfig) -> RunConfig:
    """Make paths absolute, so that a written configuration means the same from anywhere."""

    def absolute(text: str) -> str:
        return str(Path(text).expanduser().resolve())

    changes = {}
    kind, colon, rest = config.data.partition(":")
    if colon and kind in ("features", "medmnist") and Path(rest).expanduser().exists():
        changes["data"] = f"{kind}:{absolute(rest)}"
    elif not colon and config.data != "hospitals":
        changes["data"] = absolute(config.data)
    # A table that does not lie in the data lies where the command was given.
    labels = Path(config.labels).expanduser()
    if config.labels and not (Path(config.data).expanduser() / labels).exists() and labels.exists():
        changes["labels"] = absolute(config.labels)
    if config.partition.startswith("file:"):
        changes["partition"] = "file:" + absolute(config.partition.removeprefix("file:"))
    named = config.weights.lower().endswith((".pth", ".pt", ".safetensors"))
    if config.weights not in ("DEFAULT", "random") and (
        named or Path(config.weights).expanduser().is_file()
    ):
        changes["weights"] = absolute(config.weights)
    if config.cache:
        changes["cache"] = absolute(config.cache)
    return config.replace(**changes)


def run_command(command: Callable[..., None]) -> None:
    """Run a command; whatever ends it early is one sentence on standard error, and no traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(help=_paragraphs(command))(command)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What an encoding such as ASCII has no sign for is no reason to end.
            stream.reconfigure(errors="replace")
    with ended_by_signals() as ending:
        try:
            # Otherwise typer draws a box around its own messages.
            exit_code = app(standalone_mode=False)
        except FedtlError as error:
            _fail(str(error), error.exit_code)
        except ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except Exception as error:
            # Typer makes an Abort of an EOFError.
            cause = error.__cause__ if isinstance(error, Abort) and error.__cause__ else error
            if is_let_through(cause):
                raise cause from cause.__cause__
            _fail(str(unforeseen(cause, None)), FedtlError.exit_code)
        if exit_code == _INTERRUPTED:
            ending.tell()
            ending.leave()


def _paragraphs(command: Callable[..., None]) -> str:
    """Return a command's description with a line per paragraph: typer keeps line breaks."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fail(message: str, exit_code: int) -> NoReturn:
    sentence = " ".join(message.split())
    print(f"error: {sentence}" + ("" if sentence.endswith((".", "?")) else "."), file=sys.stderr)
    sys.exit(exit_code)
