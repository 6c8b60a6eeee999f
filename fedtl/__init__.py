"""fedtl: federated transfer learning with a frozen backbone."""

import os
import sys

launch_folder = ""
"""The folder that Python searched first with ``-m``, and no longer searches; else empty."""

# Before anything else is imported: a folder that a command is given in may hold a module of any
# name, and somebody may have sent it. Python says -m in place of a command's name while it looks
# for the command itself, and for nothing else.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    launch_folder = sys.path.pop(0)

from importlib import import_module  # noqa: E402
from importlib.machinery import ModuleSpec, PathFinder  # noqa: E402
from pathlib import Path  # noqa: E402

__version__ = "0.2.0"

# Left to itself, MKL sums a product in an order that depends on where in memory its result lies, so
# on a client's place in a stack, where sizes are no multiples of 16 bytes. This is its documented
# way to ask for the same bits everywhere (oneMKL Developer Guide, "Obtaining Numerically
# Reproducible Results"); head products take no longer. MKL reads it when it is first used, so it is
# set before anything here can use it.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

_OURS = str(Path(__file__).parents[1])


class _Beside:
    """Finds ``strategies`` beside fedtl, even if another is first on Python's path."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        return PathFinder.find_spec(name, [_OURS]) if name == "strategies" else None


if "strategies" in sys.modules:
    _found = getattr(sys.modules["strategies"], "__file__", None)
    if _found is None or str(Path(_found).parents[1]) != _OURS:
        raise ImportError(
            f"fedtl's package strategies is hidden by {_found}, which was imported before fedtl; "
            "import fedtl first, or rename that module."
        )
sys.meta_path.insert(0, _Beside)

# Found when they are first asked for: each imports what a command that needs none of them does not.
_PUBLIC = {
    "ComparisonResult": "fedtl.comparison.comparison_result",
    "FedtlError": "fedtl.errors",
    "Observer": "fedtl.observers.observer",
    "RunConfig": "fedtl.config",
    "RunResult": "fedtl.results.result",
}
# Modules that can be called.
_COMMANDS = ("compare", "predict", "simulate")

__all__ = ["ComparisonResult", "FedtlError", "Observer", "RunConfig", "RunResult"]
__all__ += ["compare", "predict", "simulate"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _COMMANDS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'fedtl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
