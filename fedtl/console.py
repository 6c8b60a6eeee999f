"""The command ``fedtl``: ``fedtl simulate …`` is ``python -m fedtl.simulate …``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

import fedtl
from fedtl.config_key import nearest
from fedtl.errors import UsageError

COMMANDS = {
    "simulate": "one federation on this machine",
    "compare": "many strategies on one federation, one table",
    "describe": "how data is read, and what it contains",
    "agree": "one schema of several sites' tables",
    "predict": "the head of a finished run on new inputs",
    "export": "the model of a finished run, for use without fedtl",
    "pretrain": "learn a backbone like the one that is shipped",
}


def main() -> None:
    """Run the command that the first argument names."""
    from fedtl.command_line import run_command

    # A class of the user's own is looked for where the command was given, if it is named.
    fedtl.launch_folder = os.getcwd()  # noqa: PTH109 - text, as Python's path has
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv = [f"fedtl {name}", *sys.argv[2:]]
        run_command(importlib.import_module(f"fedtl.{name}").main)
    else:
        run_command(_other(name))


def _other(name: str) -> Callable[[], None]:
    """Return a command that prints the list of commands, the version, or an error."""

    def tell() -> None:
        if name == "--version":
            print(f"fedtl {fedtl.__version__}")
        elif name in ("-h", "--help"):
            print("Usage: fedtl COMMAND [FLAGS]\n")
            print("\n".join(f"  {one:10} {told}" for one, told in COMMANDS.items()))
            print("\nfedtl COMMAND --help says more.")
        else:
            raise UsageError(f"There is no command {name!r}{nearest(name, COMMANDS)}")

    sys.argv = ["fedtl"]
    return tell
