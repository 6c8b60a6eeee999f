"""The versions of what a run was computed with."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

import fedtl

_ALWAYS = ("flwr", "numpy", "ray", "torch", "torchvision")
_OF_BACKBONES = {
    "hf": "transformers",
    "open-clip": "open_clip_torch",
    "timm": "timm",
    "wordllama": "wordllama",
}


def versions(backbone: str) -> dict[str, str]:
    """Return the version of each package, by its name.

    Args:
        backbone: The run's, as the configuration names it; its package counts where it is
            installed, as a server of real sites needs none.
    """
    told = {"fedtl": fedtl.__version__, "python": platform.python_version()}
    told |= {name: _version(name) for name in _ALWAYS}
    package = _OF_BACKBONES.get(backbone.partition(":")[0].replace("_", "-"))
    if package is not None:
        try:
            told[package] = _version(package)
        except PackageNotFoundError:
            return told
    return told


@functools.cache
def _version(package: str) -> str:
    return version(package)
