"""``python -m fedtl.predict``: a finished run's head, used on new pictures or embeddings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedtl.callable_module import make_callable
from fedtl.command_line import leave, run_command
from fedtl.errors import UsageError
from fedtl.run_flags import MovedWeights, Trusted

if TYPE_CHECKING:
    from fedtl.data.sources import Reading
    from fedtl.federation.classifier import Classifier
    from fedtl.federation.labelled import Labelled


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", show_default=False)],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", show_default=False)],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Write the values of all classes there.", metavar="FILE"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array on stdout, and nothing else.")
    ] = False,
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="INPUT is labelled (class/file, or arrays x and y): print the accuracy, its "
            "interval and confusions.",
        ),
    ] = False,
    case_mix: Annotated[
        str | None,
        typer.Option(
            "--case-mix",
            help="Labelled data of a client's own (class/file, or features:FILE.npz): the head is "
            "read with the mix of its classes.",
            metavar="DATA",
        ),
    ] = None,
    top_level: Annotated[
        Literal["auto", "site", "group", "class", "split"],
        typer.Option(
            "--top-level",
            help="Of labelled data, as in simulate.",
            metavar="auto | site | group | class | split",
        ),
    ] = "auto",
    group_from: Annotated[
        str,
        typer.Option(
            "--group-from",
            help="Of labelled data, as in simulate: the interval counts groups.",
            metavar="PATTERN",
            show_default=False,
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            help="Table of labelled data, as in simulate.",
            metavar="FILE",
            show_default=False,
        ),
    ] = "",
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="Levels of folders of labelled data, as in simulate.",
            metavar="LEVELS",
            show_default=False,
        ),
    ] = "",
    grey_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--grey-range",
            help="Black and white of grey pictures of more than 8 bits, in place of the run's.",
            metavar="LOW HIGH",
            show_default=False,
        ),
    ] = None,
    table_schema: Annotated[
        Path | None,
        typer.Option(
            "--table-schema",
            help="What the columns of rows are, if RUN was at real sites, which know it.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    weights: MovedWeights = None,
    trust: Trusted = False,
    top: Annotated[
        int, typer.Option("--top", help="Classes shown per input, best first.", metavar="N", min=1)
    ] = 2,
) -> None:
    """Classify new images, texts, recordings or rows with what a run has learned.

    RUN is the folder of a finished run. INPUT is a file, or a folder or archive (.zip, .tar) that
    is searched for files of the run's kind; for a run on texts or rows it is a table, and for a
    run on embeddings it is features:FILE.npz with an array x.

    Heads trained by gradient steps give probabilities. Closed-form heads give scores: about 1 for
    the class of an input, about 0 for the others. With --case-mix all give probabilities.
    """
    from fedtl.data.sources import Reading
    from fedtl.federation.classifier import Classifier
    from fedtl.given_embeddings import read_embeddings
    from fedtl.given_inputs import extract_given
    from fedtl.report.predictions import Predictions

    reading = Reading(top_level=top_level, group_from=group_from, labels=labels, layout=layout)
    if reading != Reading() and not (score or case_mix is not None):
        raise UsageError(
            "--top-level, --layout, --group-from and --labels say how labelled data are read: they "
            "need --score or --case-mix."
        )
    classifier = Classifier.of_run(run, trust=trust, weights=weights and weights.expanduser())
    for told in classifier.told:
        print(f"warning: {told}", file=sys.stderr)
    if grey_range is not None:
        classifier = classifier.on_scale(grey_range)
    if table_schema is not None:
        from fedtl.data.schema_file import read_schema

        classifier = classifier.with_schema(read_schema(table_schema.expanduser()))
    adjustment = None
    if case_mix is not None:
        from fedtl.federation.labelled import case_mix as read_with

        adjustment = read_with(classifier, _labelled(classifier, case_mix, reading, quiet=as_json))
    labelled = None
    if score:
        if len(inputs) != 1:
            raise UsageError(f"--score takes one INPUT that is labelled, not {len(inputs)}.")
        labelled = _labelled(classifier, inputs[0], reading, quiet=as_json)
        unit, names, features = labelled.unit, labelled.names, labelled.features
    elif classifier.takes_embeddings:
        unit, (names, features) = "row", read_embeddings(classifier, inputs)
    else:
        unit, (names, features) = extract_given(classifier, inputs, quiet=as_json)
    predictions = Predictions(
        unit=unit,
        names=names,
        classes=classifier.trained.classes,
        measure=classifier.measure if adjustment is None else "probability",
        values=classifier.values(features, adjustment),
    )
    if csv is not None:
        predictions.write_csv(csv.expanduser())
    from fedtl.report.terminal import standard_output

    if labelled is not None:
        from fedtl.report.scored import Scored

        scored = Scored.of(predictions, labelled.labels, labelled.groups)
        if as_json:
            print(json.dumps(scored.to_mapping(), indent=2))
        else:
            standard_output().print(scored.table())
    elif as_json:
        print(json.dumps(predictions.objects(top), indent=2))
    else:
        standard_output().print(predictions.table(top))


def _labelled(classifier: Classifier, source: str, reading: Reading, *, quiet: bool) -> Labelled:
    """Return labelled inputs; warn of inputs that are left out."""
    from rich.console import Console

    from fedtl.federation.labelled import read_labelled
    from fedtl.observers.progress import RunProgress

    console = Console(stderr=True)
    with RunProgress(console, quiet=quiet or not console.is_terminal) as progress:
        labelled = read_labelled(classifier, source, reading, progress.features)
    for sentence in labelled.notes:
        print(f"warning: {sentence}", file=sys.stderr)
    return labelled


make_callable(__name__)

if __name__ == "__main__":
    run_command(main)
    leave()
