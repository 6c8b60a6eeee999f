"""The table of mutants: each names a line that is there, once, and tests that exist."""

from __future__ import annotations

from mutants import ROOT, mutants, placed


def test_every_line_that_a_mutant_breaks_is_there_once() -> None:
    found = list(mutants())
    assert len(found) >= 150
    assert len({(one.file, one.old, one.new) for one in found}) == len(found)
    wrong = []
    for one in found:
        try:
            one.applied()
        except ValueError as error:
            wrong.append(str(error))
    assert wrong == []


def test_the_tests_that_a_mutant_names_are_there() -> None:
    for name in {test for one in mutants() for test in one.tests}:
        file, _, function = placed(name).partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {function.partition('[')[0]}(" in text or not function, name
