"""The one kind of error whose message is for the person at the keyboard."""


class UserError(Exception):
    """Something from outside is not as it must be: the message says what was found, where, and what to do.

    Commands print the message alone and exit with status 1; any other exception is a defect and keeps its trace.
    """
