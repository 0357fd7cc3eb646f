"""The one base error of the project: what was wrong, where, and what to do about it."""


class SpeechpressError(Exception):
    """An error that a user can cause and correct; the command line prints it as one line (exit code 1)."""

    exit_code = 1


class CheckFailed(SpeechpressError):
    """A check that was asked for did not hold: parity, a latency budget, delegation (exit 3)."""

    exit_code = 3
