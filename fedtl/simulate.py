"""``python -m fedtl.simulate``: one federation on this machine or Ray cluster."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtl.command_line import absolute_paths, run_command, with_config
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml, refuse_unchosen, toml_keys
from fedtl.errors import UsageError
from fedtl.help_pages import HelpPage
from fedtl.user_code import unbar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedtl.engine.simulation import Simulated
    from fedtl.observers.run_folder import RunFolder
    from fedtl.results.over_seeds import SeedScores
    from fedtl.results.result import ClientSamples, RunResult, SitePanel
    from fedtl.results.unseen import UnseenSite

_SAMPLED_CLIENTS = 6
# As --holdout-site: every site in turn.
_EACH = "each"


_PAGE = HelpPage(
    "simulate",
    "Simulate federated transfer learning: many clients, one frozen backbone, one head. Every run "
    "shows the federated head beside what each client would get alone and what pooling all data "
    "would give, and leaves a folder with the head, the numbers and a report.",
    (
        "--clients 10",
        "--data ~/scans/ --clients 8 --strategy fedcgs",
        "--config scenario.toml --rounds 20 --seeds 5",
    ),
    {
        "--seeds N": "Run with N seeds: intervals over who holds what.",
        "--config FILE": "Take keys from a TOML file.",
        "--resume RUN": "Go on with a run that was cut off.",
        "--quiet, --json": "Print only the folder, or the summary as JSON.",
    },
    {
        "data": "Folder, archive, features:FILE.npz, or rendered hospitals",
        "clients": "Number of clients",
        "partition": "How data becomes clients: natural, dirichlet, iid, …",
        "strategy": "One of those below, or module:Class of your own",
        "rounds": "Training rounds; closed forms need one",
        "backbone": "fedtl-tiny, or a network of torchvision",
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
        typer.Option("--resume", help="Go on with a run that was cut off.", metavar="RUN"),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="With --resume: run classes that the folder names."),
    ] = False,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            help="Run with this many seeds, from --seed on: intervals over who holds what.",
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

    Every run shows the federated head beside what each client would get alone and what pooling
    all data would give, and leaves a folder with the head, the numbers and a report.
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
        folder.progress = progress
        for warning in (*told, *folder.warnings):
            progress.warn(warning)
        from fedtl.comparison.each_site import check_sites
        from fedtl.engine.simulation import simulate

        check = check_sites if each_site else None
        loaded = time.perf_counter()
        simulated = simulate(folder.config, folder, checkpoint, check)
        simulated.seconds["start_up"] += loaded - began
        others: list[SeedScores] = []
        if seeds > 1:
            repeating = time.perf_counter()
            from fedtl.comparison.repeats import repeated

            show = partial(progress.step, "further seeds")
            others = repeated(folder.config, simulated.inputs, seeds, show, folder.enter_error)
            simulated.seconds["seeds"] = time.perf_counter() - repeating
        unseen: list[UnseenSite] = []
        if each_site:
            from fedtl.comparison.each_site import each_site_unseen
            from fedtl.observers.pseudonyms import unnamed

            def step(done: int, count: int, name: str) -> None:
                hidden = f"{done} of {count}"
                progress.step(
                    "unseen sites", done, count, hidden if folder.config.pseudonyms else name
                )

            repeating = time.perf_counter()
            found = each_site_unseen(folder.config, simulated.inputs, step, folder.enter_error)
            unseen = unnamed(folder, found)
            simulated.seconds["unseen_sites"] = time.perf_counter() - repeating
        progress.status("writing the report")
        result = _close(folder, simulated, began, others, unseen)
    _show(folder, result, unseen, quiet=quiet, as_json=as_json)


def _folder(
    config: Path | None,
    resume: Path | None,
    flags: dict[str, Any],
    told: list[str],
    *,
    trust: bool,
) -> tuple[RunFolder, Any]:
    """Return the run folder, new or taken up, and the checkpoint to go on from.

    What is to be told of a folder that is taken up is put into ``told``.
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
    # Imports torch, seconds; a mistake in the flags has been told by now.
    from fedtl.observers.run_folder import RunFolder

    return RunFolder.create(chosen.settled(keys)), None


def _close(
    folder: RunFolder,
    simulated: Simulated,
    began: float,
    other_seeds: Sequence[SeedScores],
    unseen_sites: Sequence[UnseenSite],
) -> RunResult:
    from fedtl.federation.adversity import attackers
    from fedtl.report.closing import close_run

    samples = _samples(simulated, folder.config.pictures)
    seconds = {"total": time.perf_counter() - began, **simulated.seconds}
    return close_run(
        folder,
        simulated.outcome,
        centralised=simulated.centralised,
        client_names=_marked(folder.config, simulated.split.names),
        samples=samples,
        seconds=seconds,
        peak_mb=simulated.peak_mb,
        panel=_panel(folder, simulated),
        other_seeds=other_seeds,
        unseen_sites=unseen_sites,
        understood=simulated.understood,
        scale=simulated.inputs.scale,
        hostile=attackers(folder.config.replace(clients=len(simulated.split.names))),
    )


def _marked(config: RunConfig, names: list[str]) -> list[str]:
    """Return the clients' names, those that the scenario made hostile marked."""
    from fedtl.federation.adversity import attackers

    hostile = attackers(config.replace(clients=len(names)))
    return [f"{name} (hostile)" if at in hostile else name for at, name in enumerate(names)]


def _panel(folder: RunFolder, simulated: Simulated) -> SitePanel | None:
    """Return a picture of each class at each site if the report is to hold pictures."""
    from fedtl.observers.pseudonyms import read_pseudonyms
    from fedtl.report.site_panel import panel_of

    if not folder.config.pictures:
        return None
    names = read_pseudonyms(folder) if folder.config.pseudonyms else None
    return panel_of(simulated.inputs.dataset, names)


def _samples(simulated: Simulated, count: int) -> list[ClientSamples]:
    """Return so many evenly spaced training pictures of each of the first few clients."""
    import numpy as np

    from fedtl.results.result import ClientSamples

    dataset, split = simulated.inputs.dataset, simulated.split
    if not count or isinstance(dataset.inputs, np.ndarray):
        return []
    samples = []
    for name, rows in list(zip(split.names, split.train, strict=True))[:_SAMPLED_CLIENTS]:
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))]
        samples.append(
            ClientSamples(
                name=name,
                images=[dataset.inputs.load(int(row)) for row in chosen],
                labels=[dataset.classes[dataset.labels[row]] for row in chosen],
            )
        )
    return samples


def _show(
    folder: RunFolder,
    result: RunResult,
    unseen_sites: Sequence[UnseenSite],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Print the tables, or the summary alone."""
    if as_json:
        summary = json.loads((folder.path / "summary.json").read_text(encoding="utf-8"))
        print(json.dumps({"run_folder": str(folder.path), **summary}, indent=2))
    elif quiet:
        print(folder.path)
    else:
        from fedtl.report.tables import client_table, totals_table
        from fedtl.report.terminal import standard_output
        from fedtl.report.unseen_tables import unseen_sites_table, unseen_table

        console = standard_output()
        console.print(client_table(result))
        console.print(totals_table(result))
        if result.unseen is not None:
            console.print(unseen_table(result.unseen))
        if unseen_sites:
            console.print(unseen_sites_table(unseen_sites))
        if folder.config.pseudonyms:
            from fedtl.observers.pseudonyms import not_to_send

            console.print(not_to_send(folder), soft_wrap=True)
        console.print(f"report: {folder.path / 'report.html'}", soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
