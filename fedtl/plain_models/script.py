"""``load_model.py``: what loads exported weights and classifies a file, without fedtl."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedtl import __version__
from fedtl.plain_models.input_code import InputCode
from fedtl.plain_models.plain_model import PlainModel
from fedtl.plain_models.targets import Target, weights_file

_IMPORTS: dict[str, tuple[str, ...]] = {
    "pictures": ("from PIL import Image, ImageOps", "from torchvision import transforms"),
    "pixels": ("import numpy as np", "from PIL import Image, ImageOps"),
    "processed_pictures": (
        "import numpy as np",
        "import transformers",
        "from PIL import Image, ImageOps",
    ),
    "texts": ("import numpy as np", "import tokenizers"),
    "sounds": (
        "import math",
        "import numpy as np",
        "import soundfile",
        "from scipy.signal import resample_poly",
    ),
    "arrays": ("import zipfile", "import numpy as np"),
    "torch": (),
    "safetensors": ("from safetensors.torch import load_file",),
    "torchscript": ("import torch",),
    "onnx": ("import numpy as np", "import onnxruntime"),
}
_NEEDS: dict[Target, tuple[str, ...]] = {
    "torch": (),
    "safetensors": ("safetensors",),
    "torchscript": ("torch",),
    "onnx": ("onnxruntime",),
}


def needed_packages(plain: PlainModel, code: InputCode, target: Target) -> list[str]:
    """Return what the script needs, as ``pip install`` calls it.

    Args:
        plain: The model; its recipe counts for ``torch`` and ``safetensors``.
        code: How inputs are prepared.
        target: The form of the weights beside the script.
    """
    recipe = plain.recipe if target in ("torch", "safetensors") else None
    needs = {*code.needs, *_NEEDS[target], *(recipe.needs if recipe else ())}
    imports = (*(recipe.imports if recipe else ()), *_IMPORTS[code.template], *_IMPORTS[target])
    if "import numpy as np" in imports:
        needs.add("numpy")
    return sorted(needs)


def script(plain: PlainModel, code: InputCode, target: Target, *, probabilities: bool) -> str:
    """Return the script.

    Args:
        plain: The model; its recipe counts for ``torch`` and ``safetensors``.
        code: How inputs are prepared.
        target: The form of the weights beside the script.
        probabilities: Whether a softmax of the outputs are probabilities.
    """
    recipe = plain.recipe if target in ("torch", "safetensors") else None
    lines = [*(recipe.imports if recipe else ()), *_IMPORTS[code.template], *_IMPORTS[target]]
    standard = {
        line for line in lines if line.split()[1].partition(".")[0] in sys.stdlib_module_names
    }
    always = {"import json", "import sys", "from pathlib import Path"}
    return (
        _environment()
        .get_template("load_model.py.jinja")
        .render(
            title=f"Classifies {plain.kind.unit}s by a network with a federated head.",
            version=__version__,
            needs=", ".join(needed_packages(plain, code, target)),
            takes=code.takes,
            standard=_sorted(standard | always),
            imports=_sorted(set(lines) - standard),
            definitions=recipe.definitions.strip() if recipe else "",
            prepare=f"{code.template}.jinja",
            target=target,
            weights=weights_file(target),
            names=code.names,
            classes=len(plain.classes),
            measures="probabilities" if probabilities else "scores",
            softmax=probabilities,
            build=recipe.build if recipe else (),
            versioned=recipe is not None and recipe.versioned,
            called=recipe.called if recipe else "model(*batch)",
            **code.values,
        )
    )


def _sorted(lines: Iterable[str]) -> list[str]:
    """Return imports with modules first, as tools sort them."""
    return sorted(lines, key=lambda line: (line.startswith("from"), line.lower()))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fedtl.plain_models"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
