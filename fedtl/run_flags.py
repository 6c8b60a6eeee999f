"""Flags of the commands that take a finished run's folder, RUN."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Trusted = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run the class (module:Class) that RUN names, and the Python that its network "
        "brings; know who wrote them.",
    ),
]
"""Whether code that the folder names may run."""

MovedWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="The backbone's file of weights, if it is no longer where RUN says.",
        metavar="FILE",
        show_default=False,
    ),
]
"""Where the backbone's weights lie."""
