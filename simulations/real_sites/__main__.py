"""Make certificates and keys of a federation, start server and sites on this machine, and run it.

    python -m simulations.real_sites --sites 3
    python -m simulations.real_sites --data ~/sites_by_hospital/ --run "rounds=20 strategy=fedcgs"

Every command is printed before it runs, as you would type it on real machines. Without
--data each site gets the pictures of a rendered hospital.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from fedtl.command_line import run_command
from fedtl.config_key import Scalar
from fedtl.errors import FedtlError, UsageError
from simulations.real_sites.federation import Federation, server, sites
from simulations.real_sites.pictures import write_hospitals

_PICTURES = 120


def main(
    number: Annotated[int, typer.Option("--sites", help="Sites, if no data is given.", min=2)] = 3,
    data: Annotated[
        Path | None, typer.Option(help="Folder with a folder of class/file for each site.")
    ] = None,
    run: Annotated[
        str, typer.Option(help="Settings of the run, such as 'rounds=20 strategy=fedcgs'.")
    ] = "rounds=2",
    folder: Annotated[
        Path, typer.Option(help="Folder for keys, logs and the run; it must not exist yet.")
    ] = Path("real-sites"),
) -> None:
    """Run a federation of real sites over TLS, all on this machine."""
    project = _project()
    config = _run_config(run)
    own = _folders(data) if data else {}
    os.umask(0o077)
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; name another --folder.") from error
    own = own or write_hospitals(folder / "pictures", number, _PICTURES)
    node_configs: dict[str, dict[str, Scalar]] = {
        name: {
            "partition-id": place,
            "num-partitions": len(own),
            "data": str(path),
            "cache": str(folder / f"{name}-cache"),
        }
        for place, (name, path) in enumerate(own.items())
    }
    config |= {"clients": len(own), "out": str(folder / "run")}
    with server(folder, _say) as federation, sites(federation, node_configs):
        _follow(federation, project, config)
    print(f"report: {folder / 'run' / 'report.html'}")


def _follow(federation: Federation, project: Path, config: dict[str, Scalar]) -> None:
    """Run, and report the outcome."""
    ran = federation.run(config, project, heard=print)
    summary = federation.folder / "run" / "summary.json"
    if ran.status != "finished:completed" or not summary.exists():
        lines = [line for line in ran.printed.splitlines() if "Error" in line]
        lines = lines or [ran.printed[-500:]]
        raise FedtlError(f"The run failed: {lines[-1].strip()}")
    found = json.loads(summary.read_text(encoding="utf-8"))
    print(f"head_sha256: {found['head_sha256']}")


def _project() -> Path:
    """Return the folder of the app that is run."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError("fedtl's pyproject.toml is not here; start this in a checkout of fedtl.")


def _run_config(text: str) -> dict[str, Scalar]:
    """Return keys and values, given as Flower's command line takes them."""
    words = re.findall(r"""(?:'[^']*'|"[^"]*"|\S)+""", text)  # a name in quotes may have spaces
    try:
        found: dict[str, Scalar] = tomllib.loads("\n".join(words))
    except tomllib.TOMLDecodeError:
        try:
            pairs = (word.split("=", 1) for word in words)
            found = tomllib.loads("\n".join(f"{key} = {_quoted(value)}" for key, value in pairs))
        except (tomllib.TOMLDecodeError, ValueError):
            raise UsageError(f"--run {text!r} is not a list of key=value.") from None
    return found


def _quoted(value: str) -> str:
    """Return a value in TOML: a text without quotes gets them."""
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return json.dumps(value)
    return value


def _folders(data: Path) -> dict[str, Path]:
    """Return each site's folder by its name."""
    found = sorted(path for path in data.absolute().glob("*") if path.is_dir())
    if len(found) < 2:
        raise UsageError(f"{data} has no two folders, one for each site.")
    return {path.name: path for path in found}


def _say(command: str) -> None:
    print(f"$ {command}", flush=True)


if __name__ == "__main__":
    run_command(main)
