"""What a person is told when a command cannot do its work.

Rules: raised anywhere, caught once, in main.  The text is one line: what failed, why, and what to do.
"""


class Failure(Exception):
    """One line for a person; the command ends with exit code 1."""
