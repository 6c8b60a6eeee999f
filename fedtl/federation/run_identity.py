"""``run.json``: which run a folder holds, how it was run, and digests of its files."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from fedtl.errors import FedtlError
from fedtl.json_file import read_json

IDENTITY_FILE = "run.json"

Runtime = Literal["simulation", "sites"]

_FORMAT = "fedtl-run-1"
_DAMAGED = "it is damaged, or another file was put in its place"


@dataclass(frozen=True)
class RunIdentity:
    """What a run's first file says about it.

    Attributes:
        run: A random number that identifies this run, hexadecimal.
        runtime: Whether clients were simulated, or real sites.
        config: SHA-256 of ``config.toml``, hexadecimal.
        head: SHA-256 of ``head.safetensors``; empty until the run has closed.
        settled: SHA-256 of the ``config.toml`` that names what the data have settled; empty if that
            is not another.
    """

    run: str
    runtime: Runtime
    config: str
    head: str = ""
    settled: str = ""

    @classmethod
    def fresh(cls, runtime: Runtime, config: str) -> RunIdentity:
        """Return the identity of a new run whose ``config.toml`` has this text."""
        return cls(secrets.token_hex(16), runtime, hashlib.sha256(config.encode()).hexdigest())

    def settled_as(self, config: str) -> RunIdentity:
        """Return the identity of a run whose ``config.toml`` is about to have another text."""
        return replace(self, settled=hashlib.sha256(config.encode()).hexdigest())

    def to_json(self) -> str:
        """Return the content of the file."""
        facts = {name: said for name, said in asdict(self).items() if said or name != "settled"}
        return json.dumps({"format": _FORMAT, **facts, "sha256": _digest(facts)}, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> RunIdentity | None:
        """Return a run folder's identity; ``None`` where an older fedtl wrote none.

        Raises:
            FedtlError: The file is damaged, or ``config.toml`` belongs to another run.
        """
        path = folder / IDENTITY_FILE
        if not path.exists():
            return None
        content = read_json(path)
        try:
            facts = {name: content[name] for name in ("run", "runtime", "config", "head")}
            facts |= {name: content[name] for name in ("settled",) if name in content}
            sound = content["format"] == _FORMAT and content["sha256"] == _digest(facts)
        except (KeyError, TypeError) as error:
            raise FedtlError(f"{path} does not say which run it belongs to: {_DAMAGED}.") from error
        if not sound or facts["runtime"] not in get_args(Runtime):
            raise FedtlError(f"{path} contradicts itself: {_DAMAGED}.")
        identity = cls(**facts)
        # Both are the run's: it may have ended between the writing of one and of the other.
        if file_digest(folder / "config.toml") not in (identity.config, identity.settled):
            raise FedtlError(
                f"{folder / 'config.toml'} is not the run's original configuration ({path} says "
                "so); restore the original, or start another run with --config."
            )
        return identity


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        FedtlError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FedtlError(f"{path} cannot be read: {error.strerror or error}.") from error


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
