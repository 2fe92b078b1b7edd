"""Checks in fresh environments: `nox` runs what a laptop can, `nox -s NAME` one of them."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "tests", "examples"]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: style, order of imports, docstrings, formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on NumPy."""
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The lessons, run as a reader would."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/examples", *session.posargs)


@nox.session
def oracle(session: nox.Session) -> None:
    """Functions, optimizers and training against PyTorch. Not in the default list: PyTorch is large."""
    session.install("torch==2.13.0")
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/pytorch", *session.posargs)
