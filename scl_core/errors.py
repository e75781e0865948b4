"""The errors that are part of the product: a user's mistake, and a fault that stopped the work."""


class UserError(ValueError):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do next. Exit status 2."""


class Fault(RuntimeError):
    """The work cannot go on, through no mistake in the settings: a non-finite loss, a lost rank. Exit status 1."""
