"""The report of a run: one self-contained page that opens offline and can be sent to every site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedtl.report import client_plots, heat_maps, plots
from fedtl.report.client_list import client_list
from fedtl.report.headline import headline, subject
from fedtl.report.markup import captioned, definitions, escaped, meter, table_of
from fedtl.report.metrics_section import metrics_section
from fedtl.report.new_data import new_data_section
from fedtl.report.page import page_of
from fedtl.report.result import ClientRow, Gain, OwnScore, RunResult
from fedtl.report.samples import samples_section
from fedtl.report.seeds_section import seeds_section
from fedtl.report.tables import MARKS, ends_by_gain, gain_lines, time_parts
from fedtl.report.unseen_section import unseen_section
from fedtl.report.ways import ways_of
from fedtl.report.wording import (
    MISSING,
    byte_size,
    count_of,
    duration,
    percent,
    points,
    points_span,
    share_of,
    span,
)

_MOST_CLIENT_ROWS = 200
_MOST_FAILURES = 50
_MOST_WARNINGS = 100
_CONFUSED_PAIRS = 8


def write_report(path: Path, result: RunResult) -> None:
    """Write the page: no request leaves it, pictures and plots lie inside.

    Args:
        path: The file to write, UTF-8; what was there is replaced.
        result: The finished run.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(_page(result), encoding="utf-8")


def _page(result: RunResult) -> str:
    sections = {
        "Clients": ("clients", _clients(result)),
        "Seeds": ("seeds", seeds_section(result)),
        "New data": ("new-data", new_data_section(result)),
        "Unseen site": ("unseen", unseen_section(result)),
        "Accuracy": ("accuracy", _accuracy(result)),
        "Data": ("data", _data(result)),
        "Samples": ("samples", samples_section(result)),
        "Metrics": ("metrics", metrics_section(result)),
        "Confusion": ("confusion", _confusion(result)),
        "What left each site": ("egress", _egress(result)),
        "Failures and warnings": ("failures", _failures(result)),
        "Time": ("time", _time(result)),
        "Configuration": ("configuration", _configuration(result)),
    }
    return page_of(f"fedtl report: {subject(result)}", headline(result), sections)


def _data(result: RunResult) -> str:
    return "<h2>Who holds what</h2>\n" + captioned(
        heat_maps.label_map(result),
        "Examples per client and class, held-out ones included; the stronger a cell's colour, the "
        "larger the class's share of that client's examples.",
    )


def _accuracy(result: RunResult) -> str:
    if len(result.rounds) > 1:
        if result.summary["global_head"]:
            explanation = (
                f"The global head on {escaped(result.summary['scored_on'])}, and on those of the "
                "client it serves worst."
            )
        else:
            explanation = (
                "Clients' own heads on their own held-out examples, the mean client and the worst; "
                "the other lines are the mean client's too."
            )
        return "<h2>Accuracy by round</h2>\n" + captioned(
            plots.accuracy_by_round(result), explanation
        )
    return "<h2>Accuracy, in one round</h2>\n" + captioned(
        plots.score_ladder(result),
        "There is one round, so there is no curve: the four scores of the ways of learning, side "
        "by side.",
    )


def _clients(result: RunResult) -> str:
    lines = "; ".join(gain_lines(result))
    picture = captioned(
        client_plots.client_plot(result),
        "Accuracy on each client's own held-out examples, with its 95 % interval. "
        + escaped(f"All clients together, {lines}." if lines else ""),
        client_plots.narrow_client_plot(result) or client_list(result),
    )
    return (
        f"<h2>What each client gains</h2>\n{picture}\n{_client_details(result)}"
        "<p>A client is better or worse off if an exact McNemar test over its examples"
        " (whole groups, if there are any) says so after Holm's correction for all clients; if no "
        "client is worse off, the chance that any is called so is at most 5 %. Without a clear "
        "difference does not mean equal: the interval says what the difference may be.</p>"
    )


def _client_details(result: RunResult) -> str:
    if len(result.clients) <= _MOST_CLIENT_ROWS:
        rows: Sequence[ClientRow] = result.clients
        title = "All clients as a table"
    else:
        worst, best = ends_by_gain(result.clients, result.used, _MOST_CLIENT_ROWS // 2)
        rows = worst + best
        title = (
            f"The {len(worst)} clients that gained least and the {len(best)} that gained most, "
            f"as a table ({len(result.clients) - len(rows):,} more in clients.csv)"
        )
    ways = ways_of(result)
    gaining = [way for way in ways if way not in ("local_only", "centralised")]
    headers = ["Client", "Train", "Held out"]
    for way, one in ways.items():
        headers += [one.title, "95 % interval", "Balanced"]
        headers += ["Gain", "95 % interval", "Verdict"] if way in gaining else []
    cells = []
    for row in rows:
        line = [row.name, f"{row.examples:,}", f"{row.held_out:,}"]
        for way in ways:
            score, gain = row.scores.get(way), row.gains.get(way)
            line += [MISSING] * 3 if score is None else _score_cells(score)
            if way in gaining:
                line += [MISSING] * 3 if gain is None else _gain_cells(gain)
        cells.append(line)
    classes = ["harmed" if row.verdict(result.used) == "worse" else "" for row in rows]
    numbers = [
        column for column, header in enumerate(headers) if header not in ("Client", "Verdict")
    ]
    table = table_of(headers, cells, numbers=numbers, row_classes=classes)
    return f"<details><summary>{escaped(title)}</summary>{table}</details>"


def _score_cells(score: OwnScore) -> list[str]:
    share = share_of(score.correct, score.examples)
    return [share, span(*score.interval), percent(score.balanced_accuracy)]


def _gain_cells(gain: Gain) -> list[str]:
    mark = MARKS.get(gain.verdict or "", "")
    verdict = f"{mark} {gain.verdict}" if mark else gain.verdict or "hostile"
    return [points(gain.difference), points_span(*gain.interval), verdict]


def _confusion(result: RunResult) -> str:
    if result.confusion is None or not result.confusion.any():
        return ""
    whose = (
        "The federated head"
        if result.summary["global_head"]
        else "Every client's own head, on its own held-out examples"
    )
    picture = captioned(
        heat_maps.confusion_map(result),
        f"{whose}: a row holds the examples of one true class, a column what they were "
        "taken for; the stronger a cell's colour, the larger its share of the row.",
    )
    errors = result.confusion.copy()
    np.fill_diagonal(errors, 0)
    largest = np.argsort(-errors, axis=None, kind="stable")[:_CONFUSED_PAIRS]
    pairs = [tuple(np.unravel_index(index, errors.shape)) for index in largest]
    rows = [
        [
            result.classes[true],
            result.classes[predicted],
            f"{errors[true, predicted]:,}",
            percent(errors[true, predicted] / result.confusion[true].sum()),
        ]
        for true, predicted in pairs
        if errors[true, predicted]
    ]
    if len(rows) < 2:
        return f"<h2>Confusion matrix</h2>\n{picture}"
    headers = ["True class", "Taken for", "Examples", "Share of the true class"]
    table = table_of(headers, rows, numbers=(2, 3), caption="The most frequent confusions")
    return f"<h2>Confusion matrix</h2>\n{picture}\n{table}"


def _egress(result: RunResult) -> str:
    arrows = {"up": "↑ site to server", "down": "↓ server to site"}
    rows = [
        [
            arrows[total.direction],
            total.record,
            total.contents,
            f"{total.messages:,}",
            byte_size(total.bytes),
        ]
        for total in result.egress
    ]
    for direction, arrow in arrows.items():
        size = sum(total.bytes for total in result.egress if total.direction == direction)
        rows.append([arrow, "all records", "", "", byte_size(size)])
    table = table_of(
        ["Direction", "Record", "Contents", "Messages", "Size"],
        rows,
        numbers=(3, 4),
        row_classes=[""] * len(result.egress) + ["total"] * len(arrows),
    )
    return (
        "<h2>What left each site</h2>\n<p>Every record that crossed a site's boundary, summed over "
        "clients and rounds; a reply that holds anything else is refused. egress.csv has it by "
        f"round and client.</p>\n{table}"
    )


def _failures(result: RunResult) -> str:
    rounds_by_failure: dict[tuple[int, str], list[int]] = {}
    for row in result.rounds:
        for failure in row["failed"]:
            key = (failure["client"], failure["reason"])
            rounds_by_failure.setdefault(key, []).append(row["round"])
    parts = ["<h2>Failures and warnings</h2>"]
    if not rounds_by_failure and not result.warnings:
        return f"{parts[0]}\n<p>None: every client answered in every round it was asked in.</p>"
    if rounds_by_failure:
        rows = [
            [result.client_names[client], _rounds(rounds), reason]
            for (client, reason), rounds in list(rounds_by_failure.items())[:_MOST_FAILURES]
        ]
        left_out = len(rounds_by_failure) - len(rows)
        parts.append(
            "<p>A failure costs the client's own contribution to that round and nothing else"
            + (f"; {left_out:,} more are in metrics.jsonl.</p>" if left_out else ".</p>")
        )
        parts.append(table_of(["Client", "Rounds", "Reason"], rows))
    if result.warnings:
        shown = [f"<li>{escaped(warning)}</li>" for warning in result.warnings[:_MOST_WARNINGS]]
        left_out = len(result.warnings) - len(shown)
        if left_out:
            shown.append(f"<li>{count_of(left_out, 'more warning')}.</li>")
        parts.append(f'<ul class="warnings">{"".join(shown)}</ul>')
    return "\n".join(parts)


def _rounds(rounds: Sequence[int]) -> str:
    """Return round numbers, ``"3, 7, 12"``, or how many and between which where there are many."""
    if len(rounds) <= 6:
        return ", ".join(map(str, rounds))
    return f"{len(rounds)} between {rounds[0]} and {rounds[-1]}"


def _time(result: RunResult) -> str:
    seconds = result.summary["seconds"]
    phases = {
        "Start-up": seconds["start_up"],
        **{name[0].upper() + name[1:]: value for name, value in time_parts(result.summary)},
        "In all": seconds["total"],
    }
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="number">{duration(value)}</td>'
        f"<td>{meter(value / max(seconds['total'], 1e-9))}</td></tr>"
        for name, value in phases.items()
    )
    return (
        "<h2>Time and memory</h2>\n<p>Start-up and features may run side by side, so the parts "
        f"need not add up. A round takes {duration(seconds['per_round_median'])} (median); at its "
        f"peak the run held {byte_size(1e6 * result.summary['peak_rss_mb'])} of memory.</p>\n"
        '<div class="table"><table class="time"><thead><tr><th scope="col">Phase</th>'
        '<th scope="col" class="number">Time</th><th scope="col">Share of the whole</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _configuration(result: RunResult) -> str:
    summary = result.summary
    identity = {
        "head SHA-256": summary["head_sha256"],
        "backbone fingerprint": summary["backbone_fingerprint"],
    }
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return (
        "<h2>Configuration</h2>\n<p>The same configuration, seed and data give the same head, byte "
        f"for byte.</p>\n{definitions(identity, 'code')}\n"
        f"{definitions(result.config)}\n"
        f'<p class="versions">{escaped(versions)}</p>'
    )
