"""What a person is told when a command cannot do its work.

Rules: raised anywhere, caught once, in main.  The text is one line: what failed, why, and what to do.
"""


class Failure(Exception):
    """One line for a person; the command ends with exit code 1."""


def told(group: BaseExceptionGroup[BaseException]) -> Failure | None:
    """A task group's failures as one, however deep they are; None when anything else went wrong too."""
    failures, rest = group.split(Failure)
    return Failure("; ".join(_lines(failures))) if failures is not None and rest is None else None


def _lines(group: BaseExceptionGroup[Failure]) -> list[str]:
    return [
        line
        for each in group.exceptions
        for line in (_lines(each) if isinstance(each, BaseExceptionGroup) else [str(each)])
    ]
