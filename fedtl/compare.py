"""``python -m fedtl.compare``: many strategies on one federation, one table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtl.callable_module import make_callable
from fedtl.command_line import absolute_paths, leave, run_command, with_config
from fedtl.comparison.axes import Axes, choices, read_values, read_vary, varying_keys
from fedtl.config import RunConfig
from fedtl.config_file import Spelt, compare_table, from_mapping, from_toml, toml_keys
from fedtl.errors import UsageError
from fedtl.federation.foreign_folder import told_places
from fedtl.help_pages import HelpPage
from fedtl.user_code import bar, bar_models, unbar

if TYPE_CHECKING:
    from fedtl.comparison.folder import ComparisonFolder
    from fedtl.comparison.runner import Compared


_PAGE = HelpPage(
    "compare",
    "Compare strategies on one federation: the same data, features, clients, start and scores. "
    "Most flags take several values, separated by commas; every combination is compared.",
    (
        "--strategies fedavg,fed3r --seeds 5",
        "--strategies fedavg,fedprox --fedprox-mu 0.01,0.1,1 --alpha 0.1",
        "scenario.toml --tune 20",
    ),
    {
        "--strategies NAMES": "Strategies, separated by commas.",
        "--seeds N": "Number of seeds, from --seed on [5].",
        "--tune N": "Trials of each strategy's search for its own parameters.",
        "--resume DIR": "Go on with an interrupted comparison.",
        "--quiet, --json": "Print only the folder, or the summary as JSON.",
    },
    {
        "data": "Folder, archive, features:FILE.npz, or rendered hospitals",
        "clients": "Number of clients",
        "alpha": "Dirichlet concentration; small is skewed",
        "rounds": "Training rounds; closed forms need one; 0 is 50, or 10 with trained blocks",
        "backbone": "A network of torchvision or others; auto: by what the data are",
        "seed": "Seed of every random draw",
        "engine": "ray: runs side by side; inline: in this process",
        "out": "Folder; empty is runs/<time>-comparison",
    },
)


@partial(
    with_config,
    listed=varying_keys(),
    without=("strategy",),
    options=True,
    positional="scenario",
    page=_PAGE,
)
def main(
    scenario: Annotated[
        Path | None,
        typer.Argument(
            help=r"TOML file of the keys below, with a table \[compare].", metavar="FILE"
        ),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", help="Strategies, separated by commas.", metavar="NAMES"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            help="Number of seeds, from --seed on; by default 5, the fewest for a test.",
            metavar="N",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target",
            help="Accuracy for which rounds and bytes are reported; by default 95 % of the best.",
            metavar="X",
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            "--tune",
            help="Trials of each strategy's search, at each seed, for its learning rate and own "
            "parameters, on training data held out for it; 0 is no search.",
            metavar="N",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on with an interrupted comparison.", metavar="DIR"),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="With --resume: run classes that the folder names, and its network's own Python.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Only warnings, errors and the comparison folder's name."),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the folder's name and summary on stdout, as JSON."),
    ] = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Compare strategies on one federation: the same data, features, clients, start and scores.

    A flag with VALUES, or with choices, takes several, separated by commas; every combination is
    compared. Runs go side by side, and --resume does not repeat finished runs.
    """
    from rich.console import Console

    from fedtl.observers.progress import RunProgress

    given = {"strategies": strategies, "seeds": seeds, "target": target, "tune": tune}
    given = {key: value for key, value in given.items() if value is not None}
    folder = _folder(scenario, resume, given, flags, trust=trust)
    live = folder.plan.base.catches
    shown = RunProgress(Console(stderr=True), quiet=quiet or as_json, live=live)
    with folder.at_work(), shown as progress:
        from fedtl.comparison.runner import run_comparison
        from fedtl.report.comparison_files import write_comparison

        if resume is not None:
            for told in told_places(folder.plan.base.to_mapping(), resume):
                progress.warned(told)
        compared = run_comparison(folder, progress)
        progress.phase("writing the tables")
        write_comparison(folder, compared)
    _show(folder, compared, quiet=quiet, as_json=as_json)


def _folder(
    scenario: Path | None,
    resume: Path | None,
    given: dict[str, Any],
    flags: dict[str, Any],
    *,
    trust: bool,
) -> ComparisonFolder:
    """Return the folder, new or resumed."""
    if resume is not None:
        if scenario is not None or given or flags:
            raise UsageError("--resume continues the comparison unchanged; give no other option.")
        from fedtl.comparison.folder import ComparisonFolder

        unbar()
        if not trust:
            bar(resume, "add --trust")
            bar_models("add --trust")
        return ComparisonFolder.reopen(resume)
    if trust:
        raise UsageError("--trust says that a folder's own code may run: it needs --resume.")
    unbar()
    table = {} if scenario is None else compare_table(scenario)
    settings = {**table, **given}
    names = str(settings.pop("strategies", ""))
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    parts = choices({"strategy": chosen})
    base = RunConfig() if scenario is None else from_toml(scenario, others=parts)
    vary: Axes = read_vary(str(settings.pop("vary", "")), (*parts, *base.chosen))
    single = {key: [flags[key]] for key in flags if key not in varying_keys()}
    parts += choices({**vary, **single})
    # What chooses parts first: the others may be options of these.
    for key in sorted(flags, key=lambda key: not choices({key: ["part"]})):
        if (key in varying_keys() and isinstance(flags[key], str)) or isinstance(flags[key], Spelt):
            values = read_values(key, flags.pop(key), (*parts, *base.chosen))
            parts += choices({key: values})
            vary.pop(key, None)
            if len(values) > 1:
                vary[key] = values
            else:
                flags[key] = values[0]
    base = absolute_paths(from_mapping(flags, where="the command line", base=base, others=parts))
    given_keys = flags.keys() | (toml_keys(scenario) if scenario is not None else set())
    # Imports torch, seconds; a mistake in the flags has been told by now.
    from fedtl.comparison.folder import ComparisonFolder
    from fedtl.comparison.plan import Plan, settled_base

    plan = Plan(
        base=settled_base(base, vary, given_keys),
        strategies=chosen,
        vary=vary,
        **settings,
    )
    return ComparisonFolder.create(plan, base.out)


def _show(folder: ComparisonFolder, compared: Compared, *, quiet: bool, as_json: bool) -> None:
    """Print the tables of every point, or the summary alone."""
    from fedtl.comparison.plan import point_label
    from fedtl.report.comparison_table import (
        own_data_captions,
        own_data_table,
        ranking_captions,
        ranking_table,
        tuned_captions,
    )
    from fedtl.report.terminal import standard_output
    from fedtl.wording import count_of

    if as_json:
        summary = json.loads((folder.path / "summary.json").read_text(encoding="utf-8"))
        print(json.dumps({"run_folder": str(folder.path), **summary}, indent=2))
    elif quiet:
        print(folder.path)
    else:
        console = standard_output()
        for at in compared.points:
            tables = [(own_data_table(at), [*own_data_captions(at), *tuned_captions(at)])]
            if at.rows:
                tables.insert(0, (ranking_table(at), ranking_captions(at)))
            if label := point_label(at.point):
                console.print(label, style="bold", markup=False, highlight=False)
            for table, captions in tables:
                console.print(table)
                text = "\n".join(captions)
                console.print(text, "", sep="\n", style="dim", markup=False, highlight=False)
        for (strategy, reason), count in compared.failures.items():
            text = f"{strategy}: {count_of(count, 'run')} failed: {reason}"
            console.print(text, soft_wrap=True, markup=False, highlight=False)
        console.print(f"report: {folder.path / 'comparison.html'}", soft_wrap=True)


make_callable(__name__)

if __name__ == "__main__":
    run_command(main)
    leave()
