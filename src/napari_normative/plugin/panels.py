"""The widgets that the manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.attribution import AttributionController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.getting_started import GettingStartedController
from napari_normative.plugin.controllers.given import GivenController
from napari_normative.plugin.controllers.large import LargeController
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.probe import FitController, TellController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.controllers.review_files import ReviewFilesController
from napari_normative.plugin.controllers.sample_set import SetController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.segment import SegmentController
from napari_normative.plugin.controllers.training import TrainingController
from napari_normative.plugin.docks.anomaly import AnomalyView
from napari_normative.plugin.docks.candidates import CandidatesBlock
from napari_normative.plugin.docks.getting_started import GettingStartedView
from napari_normative.plugin.docks.latent_map import LatentMapView
from napari_normative.plugin.docks.reading_room import ReadingRoomView
from napari_normative.plugin.docks.restore import RestoreView
from napari_normative.plugin.docks.review import ReviewView
from napari_normative.plugin.docks.samples import SamplesView
from napari_normative.plugin.docks.segment import AttributionBlock, SegmentBlock
from napari_normative.plugin.docks.train import TrainView
from napari_normative.plugin.session import session_for

if TYPE_CHECKING:
    import napari


class AnomalyMap(AnomalyView):
    """The dock "Anomaly map".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari, as to all docks.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, listed = session.get(AnomalyController), session.get(CandidatesController)
        grown, rests = session.get(SegmentController), session.get(AttributionController)
        shared, given = session.context.shared, session.get(GivenController)
        candidates = CandidatesBlock(
            listed.state,
            listed.requests,
            shared.settings,
            SegmentBlock(grown.state, grown.requests),
            AttributionBlock(rests.state, rests.requests),
        )
        super().__init__(made.state, made.requests, shared, candidates, given.state, given.requests)


class GettingStarted(GettingStartedView):
    """The dock "Getting started"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(GettingStartedController)
        super().__init__(made.state, made.requests)


class ReadingRoom(ReadingRoomView):
    """The dock "Reading room"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, layout = session.get(ReadingController), session.get(LayoutController)
        made.follow(layout)
        super().__init__(
            made.state, made.requests, session.context.shared, layout.state, layout.requests
        )


class Restore(RestoreView):
    """The dock "Restore"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, large = session.get(RestoreController), session.get(LargeController)
        super().__init__(
            made.state, made.requests, large.state, large.requests, session.context.shared
        )


class Review(ReviewView):
    """The dock "Review"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, files = session.get(ReviewController), session.get(ReviewFilesController)
        super().__init__(
            made.state, made.requests, files.state, files.requests, session.context.settings
        )


class Samples(SamplesView):
    """The dock "Samples"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, explorer = session.get(SamplesController), session.get(ExplorerController)
        dataset, given = session.get(SetController), session.get(GivenController)
        super().__init__(
            made.state, made.requests, explorer.state, explorer.requests,
            dataset.state, dataset.requests, session.context.shared, given.state, given.requests,
        )  # fmt: skip


class LatentMap(LatentMapView):
    """The dock "Latent map"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(LatentMapController)
        told, fit = session.get(TellController), session.get(FitController)
        super().__init__(
            made.state, made.requests, told.state, told.requests, fit.state, fit.requests,
            session.context.shared,
        )  # fmt: skip


class Train(TrainView):
    """The dock "Train a model"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(TrainingController)
        super().__init__(made.state, made.requests, session.context.shared)
