"""The job that explains a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.state.candidates import Curve, Why

if TYPE_CHECKING:
    from napari_normative.core.attribution import Explanation, Neighbour
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import InModelSpace


@dataclass(frozen=True, eq=False)
class Explain:
    """Explain one candidate with the model that found it.

    Attributes
    ----------
    models : ModelShelf
    model, digest, name : str
        Key of the chosen model; digest and name of the one that made the detection.
    device : str
    inside : InModelSpace
    candidate : Candidate
    threshold_z : float
    """

    models: ModelShelf
    model: str
    digest: str
    name: str
    device: str
    inside: InModelSpace
    candidate: Candidate
    threshold_z: float

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Why:
        """Do it.

        Raises
        ------
        ModelFileError
            ``MOD-021`` if another model than that of the detection was chosen.
        """
        from napari_normative.engine.device import choose_device
        from napari_normative.engine.why import explain_inside

        model = self.models.load_same(self.model, self.digest, self.name)
        made = explain_inside(
            model,
            self.inside,
            self.candidate,
            self.threshold_z,
            device=choose_device(self.device).device,
        )
        return why_of(made)


def why_of(made: Explanation) -> Why:
    """Return an explanation ready to be shown."""
    curves = tuple(
        Curve(p.axis, p.offset_mm, p.observed, p.expected, p.low, p.high) for p in made.profiles
    )
    directions = tuple(
        f"direction {e.index + 1}: {e.effect_per_sd:+.3f} per SD; the scan lies at "
        f"{e.coordinate_sd:+.1f} SD"
        for e in made.directions
    )
    neighbours = tuple(
        (
            "this person's own scan"
            if n.same
            else "unseen person"
            if n.unseen
            else "person trained on"
        )
        + f", distance {n.distance:.2f}: {n.mean:.3f} ± {n.sd:.3f} here"
        for n in made.neighbours or ()
    )
    if made.neighbours is None:
        neighbours = ("This model file does not hold its people.",)
    return Why(made.sentence(), curves, directions, neighbours)


def _who(neighbour: Neighbour) -> str:
    if neighbour.same:
        return "this person's own scan"
    return "a person never seen in training" if neighbour.unseen else "a person trained on"
