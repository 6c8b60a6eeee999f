"""``python -m fedtl.simulate``: one federation on this machine or Ray cluster."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtl.callable_module import make_callable
from fedtl.command_line import absolute_paths, leave, run_command, with_config
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml, refuse_unchosen, toml_keys
from fedtl.engine.early_start import begin_early, forget
from fedtl.errors import UsageError
from fedtl.help_pages import HelpPage
from fedtl.user_code import unbar

if TYPE_CHECKING:
    from fedtl.observers.run_folder import RunFolder
    from fedtl.results.result import RunResult

# As --holdout-site: every site in turn.
_EACH = "each"


_PAGE = HelpPage(
    "simulate",
    "Simulate federated transfer learning: many clients, one frozen backbone, one head. Every run "
    "shows the federated head beside each client's local-only head and the centralised head of all "
    "data, and writes a folder with the head, the numbers and a report.",
    (
        "--clients 10",
        "--data ~/scans/ --clients 8 --strategy fedcgs",
        "--config scenario.toml --rounds 20 --seeds 5",
    ),
    {
        "--seeds N": "Run with N seeds: intervals over the random split.",
        "--config FILE": "Take keys from a TOML file.",
        "--resume RUN": "Go on with an interrupted run.",
        "--quiet, --json": "Print only the folder, or the summary as JSON.",
    },
    {
        "data": "Folder, archive, features:FILE.npz, or rendered hospitals",
        "clients": "Number of clients",
        "partition": "How data becomes clients: natural, dirichlet, iid, …",
        "strategy": "One of those below, or module:Class of your own",
        "rounds": "Training rounds; closed forms need one; 0 is 50, or 10 with trained blocks",
        "backbone": "A network of torchvision or others; auto: by what the data are",
        "seed": "Seed of every random draw",
        "engine": "ray: clients in Ray actors; inline: in this process",
        "out": "Run folder; empty is runs/<time>-<name>",
    },
)


@partial(with_config, options=True, page=_PAGE)
def main(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of the keys below.", metavar="FILE")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on with an interrupted run.", metavar="RUN"),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="With --resume: run classes that the folder names, and its network's own Python.",
        ),
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            help="Run with this many seeds, from --seed on: intervals over the random split.",
            metavar="N",
            min=1,
        ),
    ] = 1,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Only warnings, errors and the run folder's name."),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the run folder's name and summary on stdout, as JSON."),
    ] = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Simulate federated transfer learning: many clients, one frozen backbone, one head.

    Every run shows the federated head beside each client's local-only head and the centralised head
    of all data, and writes a folder with the head, the numbers and a report.
    """
    from rich.console import Console

    from fedtl.observers.progress import RunProgress

    began = time.perf_counter()
    each_site = flags.get("holdout-site") == _EACH
    if each_site:
        del flags["holdout-site"]
    told: list[str] = []
    folder, checkpoint = _folder(config, resume, flags, told, trust=trust)
    live = folder.config.catches
    shown = RunProgress(Console(stderr=True), quiet=quiet or as_json, live=live)
    with folder.at_work(), shown as progress:
        for warning in (*told, *folder.remembered.warnings):
            progress.warned(warning)
        from fedtl.simulation import simulation

        run = simulation(folder, progress, seeds=seeds, each_site=each_site, began=began)
        result = run.result(checkpoint)
    _show(folder, result, quiet=quiet, as_json=as_json)


def _folder(
    config: Path | None,
    resume: Path | None,
    flags: dict[str, Any],
    told: list[str],
    *,
    trust: bool,
) -> tuple[RunFolder, Any]:
    """Return the run folder, new or resumed, and the checkpoint to go on from.

    Notes on a resumed folder are put into ``told``.
    """
    if resume is not None:
        if config is not None:
            raise UsageError(
                "--resume goes on with the run as it was configured, so --config cannot be given."
            )
        from fedtl.federation.foreign_folder import bar_code
        from fedtl.observers.run_folder import RunFolder
        from fedtl.taken_up import taken_up

        bar_code(resume, trust=trust, given=flags)

        def settle(found: RunConfig) -> RunConfig:
            chosen, places = taken_up(found, resume, flags)
            told.extend(places)
            return chosen

        return RunFolder.reopen(resume, settle)
    if trust:
        raise UsageError("--trust says that a folder's own code may run: it needs --resume.")
    unbar()
    base = RunConfig() if config is None else from_toml(config)
    keys = flags.keys() | (toml_keys(config) if config is not None else set())
    chosen = absolute_paths(from_mapping(flags, where="the command line", base=base))
    refuse_unchosen(flags, chosen.settled(keys))
    settled = chosen.settled(keys)
    begin_early(settled)
    try:
        # Imports torch, seconds; a mistake in the flags has been told by now.
        from fedtl.observers.run_folder import RunFolder

        return RunFolder.create(settled), None
    except BaseException:
        forget()
        raise


def _show(
    folder: RunFolder,
    result: RunResult,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print the tables, or the summary alone."""
    if as_json:
        print(json.dumps({"run_folder": str(folder.path), **result.figures}, indent=2))
    elif quiet:
        print(folder.path)
    else:
        from fedtl.report.tables import client_table, totals_table
        from fedtl.report.terminal import standard_output
        from fedtl.report.unseen_tables import unseen_sites_table, unseen_table

        console, detail = standard_output(), result.detail
        assert detail is not None
        console.print(client_table(detail))
        console.print(totals_table(detail))
        if detail.unseen is not None:
            console.print(unseen_table(detail.unseen))
        if detail.unseen_sites:
            console.print(unseen_sites_table(detail.unseen_sites))
        if folder.config.pseudonyms:
            from fedtl.observers.pseudonyms import not_to_send

            console.print(not_to_send(folder), soft_wrap=True)
        console.print(f"report: {folder.path / 'report.html'}", soft_wrap=True)


make_callable(__name__)

if __name__ == "__main__":
    run_command(main)
    leave()
