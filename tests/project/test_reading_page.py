"""docs/reading.md: each box is built and run, and must say what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from in_process import finished
from opened_data import png

from fedtl import describe

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
BOXES = [
    box
    for box in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    if "$ python -m fedtl.describe" in box
]
_FILES = re.compile(r"(?P<folder>.+)/ +(?P<count>\d+) (?:pictures?|(?P<suffix>\.\w+) files)")


def build(tree: str) -> None:
    shade = 0
    for line in tree.splitlines():
        match = _FILES.fullmatch(line)
        assert match is not None, line
        folder = Path(match["folder"])
        folder.mkdir(parents=True)
        for number in range(int(match["count"])):
            # Not a picture, but of its own content; describe says so below what is compared.
            content = png(shade) if shade < 100 else f"{shade}".encode()
            (folder / f"{number}{match['suffix'] or '.png'}").write_bytes(content)
            shade += 1


@pytest.mark.parametrize("box", BOXES)
def test_the_page_quotes_what_the_program_says(
    box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree, *commands = box.split("$ python -m fedtl.describe")
    build(tree)
    for command in commands:
        flags, _, quoted = command.partition("\n")
        end = finished(describe.main, *shlex.split(flags))
        said = [*end.stdout.splitlines()[:1], *end.stderr.splitlines()]
        told = [line.replace(f"{tmp_path}/", "") for line in said]
        assert told == quoted.replace("\n  ", " ").splitlines()


def test_the_page_has_boxes() -> None:
    assert len(BOXES) >= 7
