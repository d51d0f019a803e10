"""Every exception a user can see.

Each carries a code, what happened, the consequence and the remedy, so that the
command line, the dock and a script show the same sentence and nobody needs a
traceback to know what to do next.
"""

from __future__ import annotations

import errno


class NormativeError(Exception):
    """Base of all errors that are meant for people.

    Parameters
    ----------
    code : str
        Stable identifier such as ``NIF-012``.
    what : str
        What was found, one clause without a full stop.
    remedy : str
        What the person can do about it.
    consequence : str
        What was not done because of it.
    subject : str, optional
        File name (never a whole path: logs stay free of private folders) or
        other thing the message is about.

    Examples
    --------
    >>> import napari_normative as nn
    >>> try:
    ...     nn.read_volume("no/such/scan.nii.gz")
    ... except nn.NormativeError as error:
    ...     print(error.code, "·", error.subject, "·", error.what)
    NIF-001 · scan.nii.gz · there is no such file
    """

    consequence_default = "Nothing was done."

    def __init__(
        self,
        code: str,
        what: str,
        remedy: str,
        *,
        consequence: str | None = None,
        subject: str = "",
    ) -> None:
        self.code = code
        self.what = what
        self.remedy = remedy
        self.consequence = consequence or self.consequence_default
        self.subject = subject
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep code, subject and the rest on the way from another process."""
        return type(self).__new__, (type(self), *self.args), self.__dict__

    def __str__(self) -> str:
        subject = f"{self.subject}: " if self.subject else ""
        return f"[{self.code}] {subject}{self.what}. {self.consequence} {self.remedy}"


class VolumeFileError(NormativeError):
    """A volume cannot be read or written (codes ``NIF-*``)."""

    consequence_default = "Nothing was loaded."


class GeometryMismatchError(NormativeError):
    """Two volumes that must share a grid do not (codes ``GEO-*``)."""

    consequence_default = "Nothing was resampled."


class PreprocessError(NormativeError):
    """A volume cannot be brought to the model's space (codes ``PRE-*``)."""

    consequence_default = "The scan was not scored."


class ModelFileError(NormativeError):
    """A model file is damaged, foreign or does not fit (codes ``MOD-*``)."""

    consequence_default = "No model was loaded."


class ExportError(NormativeError):
    """A model cannot be handed to another program (codes ``EXP-*``)."""

    consequence_default = "Nothing was exported."


class CohortError(NormativeError):
    """A cohort cannot be used for training (codes ``COH-*``)."""

    consequence_default = "Nothing was trained."


class GenerationError(NormativeError):
    """Synthetic volumes or voxels cannot be made or judged (codes ``GEN-*``)."""

    consequence_default = "Nothing was made."


class SimulationError(NormativeError):
    """A lesion cannot be simulated (codes ``SIM-*``)."""

    consequence_default = "Nothing was simulated."


class TrainingError(NormativeError):
    """Training cannot start, go on or be saved (codes ``TRN-*``)."""

    consequence_default = "No model was saved."


class EvaluationError(NormativeError):
    """A model cannot be judged on these cases (codes ``EVA-*``)."""

    consequence_default = "Nothing was measured."


class ProbeError(NormativeError):
    """A probe cannot be fitted, read or used (codes ``PRB-*``)."""

    consequence_default = "No probe was made."


class ExplanationError(NormativeError):
    """A candidate or a latent direction cannot be explained (codes ``WHY-*``)."""

    consequence_default = "Nothing was explained."


class SegmentationError(NormativeError):
    """Candidates cannot be segmented, or nothing learnt from reviews (codes ``SEG-*``)."""

    consequence_default = "Nothing was segmented."


class ReviewError(NormativeError):
    """A review cannot be made, opened, written or combined (codes ``REV-*``)."""

    consequence_default = "Nothing was changed."


class RegionsFileError(NormativeError):
    """A file with regions or points from elsewhere cannot be read (codes ``IMP-*``)."""

    consequence_default = "Nothing was imported."


class DicomError(NormativeError):
    """DICOM objects cannot be read or made (codes ``DCM-*``)."""

    consequence_default = "Nothing was written."


class DeviceError(NormativeError):
    """The computing device cannot do what was asked (codes ``DEV-*``)."""

    consequence_default = "Nothing was computed."


class ClusterError(NormativeError):
    """A run over a cohort cannot start or go on (codes ``CLU-*``)."""

    consequence_default = "Nothing was started."


class OutputError(NormativeError):
    """A result cannot be written (codes ``OUT-*``)."""

    consequence_default = "Nothing was written."


class SessionError(NormativeError):
    """A viewer session cannot do what was asked, or be saved or opened (codes ``SES-*``)."""

    consequence_default = "The window is as it was."


class ConfigError(NormativeError):
    """A configuration file cannot be read or written (codes ``CFG-*``)."""


class NetworkError(NormativeError, PermissionError):
    """A connection beyond this machine was refused (codes ``NET-*``)."""

    consequence_default = "Nothing was sent."

    def __init__(self, code: str, what: str, remedy: str, *, subject: str = "") -> None:
        super().__init__(code, what, remedy, subject=subject)
        self.errno, self.strerror = errno.EACCES, str(self)  # what libraries look at


class CancelledError(NormativeError):
    """The person asked to stop (code ``CAN-001``)."""

    def __init__(self) -> None:
        super().__init__(
            "CAN-001", "cancelled", "Run it again to start over.", consequence="Nothing was kept."
        )
