"""The error of a command that cannot do what was asked."""

from pipeline.errors import UserError


class CommandError(UserError):
    """The arguments do not fit together, or a program that the command needs did not do its part."""
