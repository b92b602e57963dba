"""The error of a command that cannot do what was asked."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from pipeline.errors import UserError, first_line, system_failure


class CommandError(UserError):
    """The arguments contradict each other, or a program that the command needs failed."""


def finite(value: float | None) -> float | None:
    """What an option of numbers takes: 'nan' and 'inf' are read as numbers, too, and 'nan' is within every limit.

    Raises:
        typer.BadParameter: one of these.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"must be a number, found {value}")
    return value


@contextmanager
def registry_failures() -> Iterator[None]:
    """Turn a request that the MLflow registry refused or did not answer into a sentence.

    Raises:
        CommandError: it did.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if (refused := system_failure(error)) is not None:
            raise refused from None
        reason = first_line(error)
        raise CommandError(
            f"the MLflow registry did not do what was asked: {reason}; once it answers again, run the same command"
        ) from None
