"""``python -m fedtl.flower_keys``: write the keys that Flower's ``-c`` may set into pyproject.toml.

Flower refuses a key that the app's pyproject.toml does not have, so the file lists them all: those
of every run, the options of all shipped parts, and those that a comparison adds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fedtl.config import RunConfig
from fedtl.config_file import COMPARE_KEYS
from fedtl.config_keys.every import rules
from fedtl.errors import UsageError
from fedtl.known_options import shipped_options

# Flower's simulation has two clients unless told otherwise.
_UNDER_FLOWER = {"clients": 2}
_BLOCK = re.compile(r"(?<=\[tool\.flwr\.app\.config\]\n).*?(?=\n\[(?!tool\.flwr))", re.DOTALL)


def flower_keys() -> dict[str, Any]:
    """Return every key with its default, and those of a comparison as a table."""
    values = RunConfig().to_mapping()
    keys: dict[str, Any] = {key: values[key] for key in rules()} | _UNDER_FLOWER
    keys |= {key: known.option.default for key, known in sorted(shipped_options().items())}
    # Options of a user's own parts, as one text.
    keys["set"] = ""
    return {**keys, "compare": {key: kind() for key, kind in COMPARE_KEYS.items()} | {"seeds": 1}}


def main() -> None:
    """Put the keys where they belong."""
    import tomli_w

    path = Path("pyproject.toml")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not _BLOCK.search(text):
        raise UsageError(
            "pyproject.toml in this folder has no [tool.flwr.app.config]; start this in a checkout "
            "of fedtl."
        )
    keys = flower_keys()
    table = tomli_w.dumps({"compare": keys.pop("compare")}).partition("\n")[2]
    block = (
        f"{tomli_w.dumps(keys)}\n# What fedtl.compare reads of a scenario; a run leaves it alone.\n"
        f"[tool.flwr.app.config.compare]\n{table}"
    )
    path.write_text(_BLOCK.sub(lambda _: block, text), encoding="utf-8")


if __name__ == "__main__":
    from fedtl.command_line import run_command

    run_command(main)
