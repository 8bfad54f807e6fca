"""The one exception a user's mistake ends in."""


class InputError(ValueError):
    """Bad input: one sentence that names the argument or file, what is wrong and what to do.

    The command line prints the sentence and leaves with exit code 2.
    """
