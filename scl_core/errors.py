"""The one error for a user's mistake; every command turns it into exit status 2 and one line on stderr."""


class UserError(ValueError):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do next."""
