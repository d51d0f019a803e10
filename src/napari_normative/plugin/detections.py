"""The detections of one viewer: the last of each scan, and the candidates that are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_normative.layers.spec import origin_of

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection


@dataclass(frozen=True, eq=False)
class Shown:
    """Candidates as they are shown now.

    Attributes
    ----------
    candidates : tuple of Candidate
        Strongest first.
    threshold_z : float
        At which they were formed: the model's, or a reader's.
    """

    candidates: tuple[Candidate, ...]
    threshold_z: float


class Detections(dict[str, "Detection"]):
    """Detections by the origin of their scan (:func:`layers.origin_of`), newest last."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, str] = {}
        self._recounted: dict[str, Shown] = {}

    def add(self, detection: Detection, key: str = "") -> None:
        """Take a detection, of the layer with this key if there is one."""
        origin = origin_of(detection.scan)
        self.pop(origin, None)
        self[origin] = detection
        self._keys[origin] = key
        self._recounted.pop(origin, None)
        self.changed.emit()

    def recounted(self, detection: Detection, candidates: Iterable[Candidate], z: float) -> None:
        """Note that a detection's candidates are shown at another threshold."""
        self._recounted[origin_of(detection.scan)] = Shown(tuple(candidates), z)
        self.changed.emit()

    def of_layer(self, key: str, origin: str = "") -> Detection | None:
        """Return the newest detection of a layer: by its key, or by its scan's origin."""
        for found, detection in reversed(self.items()):
            if (key and self._keys.get(found) == key) or (origin and belongs(found, origin)):
                return detection
        return None

    def shown(self, detection: Detection) -> Shown:
        """Return the candidates that are shown of a detection."""
        own = Shown(detection.candidates, detection.threshold_z)
        return self._recounted.get(origin_of(detection.scan), own)

    def keep_only(self, keys: Iterable[str], origins: Iterable[str]) -> None:
        """Let go of the detections whose scan is no longer among the layers."""
        keys, origins = set(keys), tuple(origins)
        gone = [
            found
            for found in self
            if self._keys.get(found) not in keys
            and not any(belongs(found, origin) for origin in origins)
        ]
        for found in gone:
            del self[found]
            self._keys.pop(found, None)
            self._recounted.pop(found, None)
        if gone:
            self.changed.emit()


def belongs(origin: str, scan_origin: str) -> bool:
    """Whether a result is of a scan, or of one volume of it when it is a series."""
    return origin == scan_origin or origin.startswith(f"{scan_origin} (volume ")
