"""Keys: what a run uses of the machine, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.config_key import key

_MACHINE, _OUTPUT = "Machine", "Output"


@dataclass(frozen=True)
class MachineKeys:
    """See :class:`fedtl.config.RunConfig`."""

    engine: str = key(
        "ray",
        "ray: clients in Ray actors; inline: in this process; debug: there, one by one, and an "
        "error ends the run with its traceback.",
        _MACHINE,
        choices=("ray", "inline", "debug"),
    )
    client_cpus: float = key(1.0, "CPU share of a client actor.", _MACHINE, above=0.0, high=4096)
    client_gpus: float = key(0.0, "GPU share of a client actor.", _MACHINE, low=0.0, high=4096)
    client_timeout: float = key(
        300.0, "Seconds a client may take for one message.", _MACHINE, above=0.0, high=1e6
    )
    connect_timeout: float = key(
        60.0, "Seconds a server waits for its clients to connect.", _MACHINE, above=0.0, high=1e7
    )
    ray_address: str = key("", "Use the Ray cluster at this address.", _MACHINE)
    cache: str = key("", "Feature cache folder; empty is the user's own.", _MACHINE)
    no_cache: bool = key(False, "Keep features in memory only.", _MACHINE)

    name: str = key("", "Name of the run; empty takes the data's.", _OUTPUT)
    out: str = key("", "Run folder; empty is runs/<time>-<name>.", _OUTPUT)
    track: str = key(
        "",
        "Where else every round is reported: tensorboard, mlflow, or module:Class of your own, "
        "separated by commas.",
        _OUTPUT,
    )
    samples: str = key(
        "auto",
        "Pictures of each client that the report holds: none, a number up to 100, or auto, which "
        "is none of your own data and 9 of the rendered hospitals.",
        _OUTPUT,
    )
    pseudonyms: bool = key(
        False,
        "Clients are called client-0, client-1, ... in all that is written; only pseudonyms.csv "
        "says who is who.",
        _OUTPUT,
    )
