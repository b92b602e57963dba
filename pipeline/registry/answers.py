"""What a registry answers, or why nobody can tell now."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import first_line
from pipeline.registry.store import told

Answer = TypeVar("Answer")


def answer_or_reason(ask: Callable[[], Answer]) -> tuple[Answer | None, str]:
    """What `ask` returns, and ''; or None, and in a line why the registry does not answer.

    Errors that a person cannot be told are raised as they are.
    """
    try:
        return ask(), ""
    except Exception as error:  # MLflow, its database and its servers fail each in their own way
        if (known := told(error)) is None:
            raise
        return None, first_line(known)
