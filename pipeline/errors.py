"""The one kind of error whose message is for the person at the keyboard, and the words that all messages share."""

from collections.abc import Sequence

TRY_AGAIN = 75  # exit status of a stage that could not go on for now; sysexits.h calls it EX_TEMPFAIL


class UserError(Exception):
    """Something from outside is not as it must be: the message says what was found, where, and what to do.

    Commands print the message alone and exit with status 1; any other exception is a defect and keeps its trace.
    """

    status = 1


def counted(number: int, noun: str) -> str:
    """'1 photo', '2 photos'."""
    return f"{number} {noun}{'s' * (number != 1)}"


def all_problems(what: str, problems: Sequence[str]) -> str:
    """'WHAT has 2 problems:', and under it each of them on a line of its own."""
    return "\n".join([f"{what} has {counted(len(problems), 'problem')}:", *(f"  {problem}" for problem in problems)])


def joined(parts: Sequence[str]) -> str:
    """'a, b and c'; `parts` holds at least one."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


class NotNow(UserError):
    """Something from outside did not answer, or somebody asked to stop: the same command may well succeed later."""

    status = TRY_AGAIN
