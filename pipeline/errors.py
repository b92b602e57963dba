"""The one kind of error whose message is for the person at the keyboard."""

TRY_AGAIN = 75  # exit status of a stage that could not go on for now; sysexits.h calls it EX_TEMPFAIL


class UserError(Exception):
    """Something from outside is not as it must be: the message says what was found, where, and what to do.

    Commands print the message alone and exit with status 1; any other exception is a defect and keeps its trace.
    """

    status = 1


class NotNow(UserError):
    """Something from outside did not answer, or somebody asked to stop: the same command may well succeed later."""

    status = TRY_AGAIN
