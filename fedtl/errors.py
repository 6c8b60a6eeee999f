"""Mistakes that a user can make, each reported in one sentence without a traceback."""

from __future__ import annotations


class FedtlError(Exception):
    """Something outside the program is wrong; the message says what, where and what would be right.

    The command line prints the message alone and exits with ``exit_code``.
    """

    exit_code = 1


class UnwrittenError(FedtlError):
    """A file that could not be written, as on a full disk; an earlier file is unchanged."""


class ImpossibleTotalError(FedtlError):
    """The clients' contributions add up to impossible sums of features, or to no finite head."""

    exit_code = 2


class UsageError(FedtlError):
    """A request that cannot be met as it was written: a bad value, an unknown name, bad data."""

    exit_code = 2


class UnreadableImageError(Exception):
    """An image's bytes cannot be decoded; the message says why, without the image's name."""


def first_line(error: Exception) -> str:
    """Return the first line of another library's error; its type if the message is empty."""
    return str(error).partition("\n")[0] or type(error).__name__
