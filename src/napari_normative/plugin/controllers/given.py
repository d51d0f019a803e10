"""What the model is told of the person of each scan; the same for all docks of a viewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_normative.core.condition import NumberCovariate, Value
from napari_normative.errors import NormativeError
from napari_normative.plugin.state.given import GivenRequests, GivenState, Question

if TYPE_CHECKING:
    from napari_normative.core.condition import CategoryCovariate
    from napari_normative.plugin.controllers.base import Context


class GivenController:
    """Asks what the chosen model can be told, keeps the answers, and reads them.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = GivenState(), GivenRequests()
        self._models = context.models
        self.requests.answer.connect(self.answer)
        context.models.state.events.model.connect(self._on_model)
        self._on_model()

    def _on_model(self, *_: object) -> None:
        each = self._models.covariates.each
        self.state.questions = tuple(question_of(covariate) for covariate in each)

    def answer(self, key: str, name: str, text: str) -> None:
        """Take what is known of the person of a scan; an empty text takes it back."""
        of_scan = {**self.state.of(key), name: text}
        self._keep(key, {name: text for name, text in of_scan.items() if text.strip()})

    def replace(self, key: str, values: Mapping[str, object]) -> None:
        """Take all that is known of the person of a scan, instead of what was.

        Raises
        ------
        ModelFileError
            ``MOD-070`` for what the chosen model cannot be told, ``MOD-071`` for a bad value.
        """
        known = self._models.covariates.read(values)
        self._keep(key, {name: str(value) for name, value in known.items()})

    def _keep(self, key: str, texts: Mapping[str, str]) -> None:
        self.state.answers = {**self.state.answers, key: texts}

    def known(self, key: str) -> dict[str, Value]:
        """Return what the chosen model is to be told of the person of a scan.

        What another model was told and this one does not ask for, or has no such word for, is
        left out.

        Raises
        ------
        ModelFileError
            ``MOD-071`` for what is no number.
        """
        answers = self.state.of(key)
        fit = {
            asked.name: answers[asked.name]
            for asked in self.state.questions
            if asked.name in answers and (not asked.levels or answers[asked.name] in asked.levels)
        }
        return self._models.covariates.read(fit)

    def why_not(self, key: str) -> str:
        """Return why the answers cannot be used; empty when they can."""
        try:
            self.known(key)
        except NormativeError as error:
            return str(error)
        return ""


def question_of(covariate: NumberCovariate | CategoryCovariate) -> Question:
    """Return what is asked for a column of the model's cohort."""
    if isinstance(covariate, NumberCovariate):
        return Question(covariate.name, (), f"{covariate.low:g} to {covariate.high:g}")
    return Question(covariate.name, covariate.levels)
