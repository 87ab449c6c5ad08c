"""The exceptions a user of the command line is meant to see, each one line."""


class UserError(Exception):
    """Something in the user's files, flags or settings is wrong.

    The message is one line that names the file, line or key and says what is allowed. Command lines print it alone, without a
    traceback, and exit with status 2.
    """


class ToldElsewhere(UserError):
    """The first process met a `UserError` and says it; this process only ends with the same status."""


class Stopped(Exception):
    """A signal asked the run to stop; it wrote a checkpoint and can be continued.

    Command lines print the message and exit with status 75, which sysexits.h calls "try again later".
    """
