"""Sessions of ``nox``: the checks of ``.ci/run`` one by one, and the site.

They use the environment that nox is started from (``pip install -e '.[test,develop]'``): one with
PyTorch, Flower and Ray takes gigabytes. ``.ci/run`` builds a fresh one.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and for formatting."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check type hints."""
    session.run("mypy", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, or those named after ``--``."""
    session.run("pytest", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Make the site in build/site; a link that leads nowhere is an error."""
    session.run("mkdocs", "build", "--strict")
