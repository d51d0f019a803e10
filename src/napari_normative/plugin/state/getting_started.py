"""What the dock "Getting started" shows and asks for."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from napari_normative.plugin.state.common import JobRequests, JobState

SCAN, MAP, PLANES, COMPARE, SAMPLES, LIMITS = (
    "scan",
    "map",
    "planes",
    "compare",
    "samples",
    "limits",
)


@dataclass(frozen=True)
class Step:
    """One step of the tour.

    Attributes
    ----------
    key, title, sentence : str
    label, tip : str
        Of its button.
    done : bool
        Seen in the window, however it came about.
    blocked : str
        Why the button cannot be pressed; empty when it can.
    """

    key: str
    title: str
    sentence: str
    label: str
    tip: str
    done: bool = False
    blocked: str = ""


STEPS = (
    Step(
        SCAN,
        "Open a scan",
        "A T1-weighted brain made on this computer, with a simulated stroke. Or open a scan of "
        "your own.",
        "Open the sample",
        "Make the sample scan; it takes some seconds and no network",
    ),
    Step(
        MAP,
        "Run the anomaly map",
        "The model says what this brain would look like if it were healthy, and where the scan "
        "departs from that.",
        "Run",
        "Compare the scan with the model chosen in the dock Anomaly map",
    ),
    Step(
        PLANES,
        "Look at a candidate in three planes",
        "Goes to the strongest candidate. Click in a plane and the others follow. Red is brighter "
        "than expected, blue darker.",
        "Show it",
        "Axial, coronal and sagittal, at the strongest candidate",
    ),
    Step(
        COMPARE,
        "Compare with the reconstruction",
        "Scan, pseudo-healthy reconstruction and anomaly map of the same slice. The dock Reading "
        "room also flickers between them.",
        "Side by side",
        "Three panes of the same slice",
    ),
    Step(
        SAMPLES,
        "Draw samples",
        "Healthy volumes that the model holds possible for this person, all synthetic. Where they "
        "differ, the model is not sure.",
        "Draw four",
        "Four synthetic volumes about the scan, as in the dock Samples",
    ),
    Step(
        LIMITS,
        "Read the limits",
        "What the map cannot tell you.",
        "Show the limits",
        "What to know before believing a map",
    ),
)
LIMIT_LINES = (
    "A candidate is a place that is unusual for the model. It need not be disease, and a lesion "
    "need not be a candidate.",
    "The model knows the people, scanners and contrast it was trained on. Other scans give more "
    "false candidates; what is checked is said in the result, not everything can be.",
    "Age, motion, poor alignment and ventricles of another size also stand out.",
    "The threshold is set by healthy scans that were held out: the dock Reading room says how many "
    "candidates healthy scans have.",
    "The lesion of the sample is simulated; it shows how the program works, not how well.",
    "Research use only, not for diagnosis.",
)


@dataclass
class GettingStartedState(JobState):
    """Everything the dock displays. The job is the making of the sample.

    Attributes
    ----------
    steps : tuple of Step
    news : str
        What runs now, and how far it is; empty when nothing runs.
    trouble : str
        Why something did not work; empty when it did.
    limits : tuple of str
        Empty until asked for.
    """

    steps: tuple[Step, ...] = STEPS
    news: str = ""
    trouble: str = ""
    limits: tuple[str, ...] = ()


class GettingStartedRequests(JobRequests):
    """What the dock asks for; ``cancel`` ends whatever the tour began."""

    do = Signal(str)  # key of a step
