"""The one exception a user of the command line is meant to see."""


class UserError(Exception):
    """Something in the user's files, flags or settings is wrong.

    The message is one line that names the file, line or key and says what is allowed. Command lines print it alone, without a
    traceback, and exit with status 2.
    """
