"""Which keys the open docks share: a key can mean one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor


@dataclass
class KeysState:
    """Keys that the dock at work has taken from the others.

    Attributes
    ----------
    taken : frozenset of str
        As in ``QKeySequence``; another dock that knows them too leaves them alone.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    taken: frozenset[str] = frozenset()
