"""Progress of a run: bars in a terminal, a few plain lines in a pipe."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from fedtl.federation.round_row import Round
from fedtl.observers.progress import RunProgress


def _finished(number: int, accuracy: float | None) -> Round:
    return Round(number, 3, None, accuracy, (), 0, 0, 0.1)


def _run(progress: RunProgress) -> None:
    with progress:
        progress.phase("starting the actors")
        progress.features(500, 2000)
        for done in range(600, 2001, 100):
            progress.features(done, 2000)
        progress.noted("1 image could not be read: [bold]x\x1b[31m.png")
        for done in range(1, 31):
            progress.round(_finished(done, 0.874 if done > 1 else None), 30)


def test_piped_progress_is_a_few_plain_lines() -> None:
    output = io.StringIO()
    _run(RunProgress(Console(file=output, width=40)))
    text = output.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    lines = text.splitlines()
    assert lines[0] == "starting the actors"
    assert lines[1] == "features of 2,000 inputs, 500 cached"
    assert re.fullmatch(r"features 2,000/2,000 inputs, [\d,]+ inputs/s", lines[2])
    assert lines[3].startswith("1 image could not be read: [bold]x")
    rounds = lines[4:]
    assert rounds[0] == "round 3/30 accuracy .874"
    assert rounds[-1] == "round 30/30 accuracy .874"
    assert len(rounds) == 10


def test_a_sentence_is_a_line_of_a_log_and_whole_words_of_a_terminal() -> None:
    sentence = "what is below the trained blocks " * 4
    for terminal in (False, True):
        output = io.StringIO()
        with RunProgress(Console(file=output, force_terminal=terminal, width=40)) as progress:
            progress.warned(sentence.strip())
        lines = re.sub(r"\x1b\[[0-9;?]*\w", "", output.getvalue()).split("\n")
        told = [line.strip() for line in lines if line.strip()]
        assert " ".join(told) == f"warning: {sentence.strip()}"
        assert (max(map(len, told)) <= 40) == terminal
        assert {word for line in told for word in line.split()} <= set(
            f"warning: {sentence}".split()
        )


def test_piped_progress_of_cached_features_and_one_round() -> None:
    output = io.StringIO()
    with RunProgress(Console(file=output)) as progress:
        progress.features(2000, 2000)
        progress.round(_finished(1, 1.0), 1)
    assert output.getvalue() == ("features 2,000/2,000 inputs, cached\nround 1/1 accuracy 1.000\n")


def test_piped_progress_of_long_work_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("fedtl.observers.progress.time.perf_counter", lambda: now[0])
    output = io.StringIO()
    with RunProgress(Console(file=output, force_terminal=False)) as progress:
        for second in range(0, 301, 10):
            now[0] = 1000.0 + second
            progress.features(10 * second, 6000)
    lines = output.getvalue().splitlines()
    assert lines == [
        "features of 6,000 inputs, 0 cached",
        "features 600/6,000 inputs, 10 inputs/s, 9 min 0 s left",
        "features 1,200/6,000 inputs, 10 inputs/s, 8 min 0 s left",
        "features 1,800/6,000 inputs, 10 inputs/s, 7 min 0 s left",
        "features 2,400/6,000 inputs, 10 inputs/s, 6 min 0 s left",
        "features 3,000/6,000 inputs, 10 inputs/s, 5 min 0 s left",
    ]


def test_piped_progress_tells_what_goes_on_if_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtl.observers.progress._LINE_SECONDS", 0.05)
    output = io.StringIO()
    with RunProgress(Console(file=output, force_terminal=False)) as progress:
        progress.round(_finished(1, None), 9)
        progress.phase("scoring all heads")
        deadline = time.monotonic() + 20
        while output.getvalue().count("so far") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    first, *reminders = output.getvalue().splitlines()[1:]
    assert first == "scoring all heads"
    assert len(reminders) >= 2
    assert all(re.fullmatch(r"scoring all heads: \d+ ms so far", line) for line in reminders)


def test_quiet_progress_prints_nothing() -> None:
    for terminal in (True, False):
        output = io.StringIO()
        _run(RunProgress(Console(file=output, force_terminal=terminal), quiet=True))
        assert output.getvalue() == ""


def test_terminal_progress_leaves_finished_bars_and_its_notes() -> None:
    output = io.StringIO()
    _run(RunProgress(Console(file=output, force_terminal=True, width=80)))
    assert "\x1b[?25h" in output.getvalue()  # the cursor is back
    final = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output.getvalue()).rsplit("\r", 1)[-1]
    assert "features 2,000/2,000" in final
    assert "inputs/s" in final
    assert "round 30/30" in final
    assert "accuracy .874" in final
    assert "starting the actors" not in final
    assert "could not be read: [bold]x" in output.getvalue()
