"""The one error type that means "what you gave me cannot be used"."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input from the user: one sentence that names the argument or file, what was given and what is allowed.

    The command line prints the sentence and exits with code 2; a library caller catches it as a ``ValueError``.
    """
