"""What the chosen model can be told of a person, and what it is told of each scan's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor


@dataclass(frozen=True)
class Question:
    """One thing that the model can be told.

    Attributes
    ----------
    name : str
        Of the column of its cohort: ``age``.
    levels : tuple of str
        What may be answered; empty for a number.
    range : str
        Of a number among the training people: ``20 to 86``.
    """

    name: str
    levels: tuple[str, ...] = ()
    range: str = ""


@dataclass
class GivenState:
    """Questions of the chosen model, and the answers so far.

    Attributes
    ----------
    questions : tuple of Question
        None for most models.
    answers : mapping of key to (mapping of name to text)
        By the key of the scan's layer; under the empty key those of no scan, for draws from
        the cohort. Kept when another model is chosen.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    questions: tuple[Question, ...] = ()
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, key: str) -> Mapping[str, str]:
        """Return the answers of a scan."""
        return self.answers.get(key, {})


class GivenRequests:
    """What the form asks for."""

    answer = Signal(str, str, str)  # key of the scan, name, text; empty for unknown
