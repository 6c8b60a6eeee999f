"""Shared parts of the commands: flags made from the configuration, errors in one sentence."""

from __future__ import annotations

import atexit
import dataclasses
import inspect
import io
import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional, cast

import typer
from click import Abort, ClickException

from fedtl import __version__
from fedtl.collector import collect_seldom
from fedtl.config import RunConfig
from fedtl.config_file import Spelt, pairs_of
from fedtl.config_key import kebab, nearest
from fedtl.config_keys.every import rules
from fedtl.errors import FedtlError, UsageError
from fedtl.help_pages import ALL, HelpPage, options_page, part_pages
from fedtl.interruption import ended_by_signals
from fedtl.kinds import KINDS
from fedtl.known_options import shipped_option
from fedtl.unforeseen import is_let_through, unforeseen

# What typer returns where Ctrl-C ended the command.
_INTERRUPTED = 130


def config_parameters(
    *, listed: Collection[str] = (), without: Collection[str] = ()
) -> list[inspect.Parameter]:
    """Return one optional flag per configuration key, for a typer command's signature.

    A flag that is not given is ``None``, so that a TOML file's value applies.

    Args:
        listed: Keys whose flags take several values, as one text with commas.
        without: Keys that get no flag.
    """
    parameters = []
    known = rules()
    for field in dataclasses.fields(RunConfig):
        key, kind = kebab(field.name), type(field.default)
        if key in without or key not in known:
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


_OPTION_PARAMETERS = [
    inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
    inspect.Parameter(
        "set_",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Optional[list[str]],  # noqa: UP045 - typer reads it
            typer.Option(
                "--set",
                help="An option of a chosen part, such as one of your own; may be given several "
                "times. --KEY VALUE does the same.",
                metavar="KEY=VALUE",
            ),
        ],
    ),
]


def _further(
    arguments: Sequence[str], pairs: Sequence[str] | None
) -> tuple[dict[str, Spelt], list[str]]:
    """Return the values of other flags and of ``--set``, and values without a flag.

    Raises:
        UsageError: A flag has no value.
    """
    found: dict[str, Spelt] = {}
    alone = []
    waiting = list(arguments)
    while waiting:
        flag, equals, value = waiting.pop(0).partition("=")
        if not flag.startswith("--") or len(flag) < 4:
            alone.append(flag + equals + value)
            continue
        key = flag.removeprefix("--")
        if not equals:
            known = shipped_option(key)
            switch = known is not None and known.option.kind is bool
            if switch and (not waiting or waiting[0].lower() not in ("true", "false")):
                value = "true"
            elif not waiting or waiting[0].startswith("--"):
                raise UsageError(f"Option {flag!r} is not known, or has no value.")
            else:
                value = waiting.pop(0)
        found[key] = Spelt(value)
    for pair in pairs or ():
        found |= {key: Spelt(text) for key, text in pairs_of(pair, "--set").items()}
    return found, alone


def _negated(key: str) -> str:
    """Return the flag that switches a key off."""
    if key.startswith("no-"):
        return key.removeprefix("no-") + "-on"
    return f"no-{key.partition('-')[0]}"


def _metavar(kind: type, choices: tuple[str, ...], *, listed: bool) -> str | None:
    if choices:
        return " | ".join(choices)
    if listed:
        return "VALUES"
    return {int: "N", float: "X", str: "TEXT"}.get(kind)


def with_config(
    command: Callable[..., None],
    *,
    listed: Collection[str] = (),
    without: Collection[str] = (),
    options: bool = False,
    positional: str = "",
    page: HelpPage | None = None,
) -> Callable[..., None]:
    """Give a command that takes ``flags`` a flag per configuration key.

    The command's own parameters come first; the flags that were given arrive in its ``flags``, a
    mapping of kebab-case keys. See :func:`config_parameters`. With ``options`` it takes flags of
    parts' options as well, which arrive as spelt; ``positional`` is then its only argument without
    a flag, a path; ``page`` is what ``--help`` shows first.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "flags"]
    flags = config_parameters(listed=listed, without=without)
    names = [flag.name for flag in flags]

    @wraps(command)
    def wrapped(**values: Any) -> None:
        further: dict[str, Spelt] = {}
        if options:
            arguments, pairs = list(values.pop("context").args), values.pop("set_")
            if positional and values[positional] is not None:
                arguments.insert(0, str(values[positional]))
            further, values_alone = _further(arguments, pairs)
            for key in further:
                if key in rules() or f"{key}s" in values:
                    known = [f"--{name}" for name in values]
                    raise UsageError(f"There is no --{key} here{nearest(f'--{key}', known)}")
            if len(values_alone) > bool(positional):
                stray = values_alone[-1]
                such = f", such as --data {stray!r}" if Path(stray).exists() else ""
                raise UsageError(f"Unexpected argument {stray!r}; settings are flags{such}.")
            if positional:
                values[positional] = Path(values_alone[0]) if values_alone else None
        given = {
            kebab(name): " ".join(value) if isinstance(value, tuple) else value
            for name in names
            if (value := values.pop(name)) is not None
        }
        command(**values, flags=given | further)

    wrapped.takes_options = options  # type: ignore[attr-defined]
    wrapped.help_page = page  # type: ignore[attr-defined]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    if options:
        parameters += _OPTION_PARAMETERS
    wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*parameters, *flags]
    )
    wrapped.__annotations__ = {}
    return wrapped


def absolute_paths(config: RunConfig) -> RunConfig:
    """Make paths absolute, so that a written configuration works from any folder."""

    def absolute(text: str) -> str:
        return str(Path(text).expanduser().resolve())

    changes: dict[str, Any] = {}
    kind, colon, rest = config.data.partition(":")
    if colon and kind in ("features", "medmnist") and Path(rest).expanduser().exists():
        changes["data"] = f"{kind}:{absolute(rest)}"
    elif not colon and KINDS["data"].found(config.data)[0] in KINDS["data"].by_place():
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
    kind, colon, rest = config.backbone.partition(":")
    folder, mark, settings = rest.partition("#")
    if colon and kind == "hf" and Path(folder).expanduser().is_dir():
        changes["backbone"] = f"hf:{absolute(folder)}{mark}{settings}"
    options = dict(config.options)
    if schema := str(options.get("table-schema", "")):
        changes["options"] = tuple({**options, "table-schema": absolute(schema)}.items())
    if config.cache:
        changes["cache"] = absolute(config.cache)
    return config.replace(**changes)


def run_command(command: Callable[..., None]) -> None:
    """Run a command; if it ends early, print one sentence on standard error, and no traceback."""
    collect_seldom()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    further = getattr(command, "takes_options", False)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True} if further else {}
    app.command(help=_paragraphs(command), context_settings=settings)(command)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What an encoding such as ASCII has no sign for is no reason to end.
            stream.reconfigure(errors="replace")
    with ended_by_signals() as ending:
        try:
            if _told_at_once(command):
                return
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
        if sys.argv[1:] == ["--help"] and further:
            print(options_page())
        if exit_code == _INTERRUPTED:
            ending.tell()
            ending.leave()


def leave() -> NoReturn:
    """End the process of a successful command, once its threads have ended.

    Python would first tear down all modules, which takes a second; the system frees them at once.
    """
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads that are no daemons
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads on; Python ends with this status, too
        os._exit(120)
    os._exit(0)


def _told_at_once(command: Callable[..., None]) -> bool:
    """Print help or the version if they are asked for; return whether they were."""
    asked = sys.argv[1:]
    if "--version" in asked:
        print(f"fedtl {__version__}")
        return True
    page = getattr(command, "help_page", None)
    flag = next((word for word in asked if word in ("-h", "--help")), None)
    if flag is None:
        return False
    if page is None:
        sys.argv[1:] = ["--help"]
        return False
    topic = asked[asked.index(flag) + 1 :][:1]
    if topic == [ALL]:
        sys.argv[1:] = ["--help"]
        return False
    print(part_pages(topic[0]) if topic and not topic[0].startswith("-") else page)
    return True


def _paragraphs(command: Callable[..., None]) -> str:
    """Return a command's description with a line per paragraph: typer keeps line breaks."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fail(message: str, exit_code: int) -> NoReturn:
    sentence = " ".join(message.split())
    print(f"error: {sentence}" + ("" if sentence.endswith((".", "?")) else "."), file=sys.stderr)
    sys.exit(exit_code)
