"""The notebooks run as they are, and hold what they give."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((PROJECT / "examples").glob("*.ipynb"))
# A folder is named after the time.
TIMED = "runs/"


def _tables(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return what each cell shows as text, but for lines that hold the time."""
    return [
        [
            output.data["text/plain"]
            for output in cell.outputs
            if output.output_type == "execute_result" and TIMED not in output.data["text/plain"]
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_holds_what_it_gives(
    path: Path, tmp_path: Path, warm_worker: Path
) -> None:
    held = nbformat.read(path, 4)
    run = nbformat.read(path, 4)
    where = {"metadata": {"path": tmp_path}}
    with pytest.MonkeyPatch.context() as patch:
        # A notebook finds modules beside it.
        patch.delenv("PYTHONSAFEPATH", raising=False)
        patch.setattr("sys.executable", str(warm_worker))
        NotebookClient(run, timeout=240, kernel_name="python3", resources=where).execute()
    assert _tables(run) == _tables(held)
    errors = [
        output
        for cell in run.cells
        for output in cell.get("outputs", ())
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert errors == []
    assert len(NOTEBOOKS) == 3
