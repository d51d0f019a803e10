"""Graphs of a network for other programs, compared with the network before they are given away."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_normative.core.card import RESEARCH_USE
from napari_normative.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from napari_normative.engine.model import NormativeModel

Name = Literal["encode", "decode", "reconstruct"]

TOLERANCE = 1e-4
"""Largest difference that is accepted: of volumes in model units, of latents in prior SDs, of
log-variances; of what is larger than 1, relative to it."""
OPSET = 18
"""Of ONNX: what runtimes of the last years know."""
TRIALS = 4
NOISE = 0.05
"""SD, model units, that is added to the trials."""
SEED = 0
OUTPUTS: dict[Name, tuple[str, ...]] = {
    "encode": ("latent_mean", "latent_log_variance"),
    "decode": ("decoded",),
    "reconstruct": ("reconstruction",),
}
INPUTS: dict[Name, str] = {"encode": "volume", "decode": "latent", "reconstruct": "volume"}


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced question to a network.

    Attributes
    ----------
    name : {"encode", "decode", "reconstruct"}
    question : torch.nn.Module
        What was traced.
    program : torch.export.ExportedProgram
        Of any number of volumes or latents at a time.
    trials : tensor, shape (n, ...)
        Inputs to compare it by.
    """

    name: Name
    question: nn.Module
    program: ExportedProgram
    trials: Tensor

    def record(self, file: str, apart: Mapping[str, float]) -> dict[str, Any]:
        """Return what a reader has to know of the graph in ``file``."""
        import torch

        with torch.inference_mode():
            answers = _tuple(self.question(self.trials[:1]))
        shapes = (["batch", *answer.shape[1:]] for answer in answers)
        return {
            "file": file,
            "inputs": {INPUTS[self.name]: ["batch", *self.trials.shape[1:]]},
            "outputs": dict(zip(OUTPUTS[self.name], shapes, strict=True)),
            "largest_difference": dict(apart),
        }

    def compare(self, run: Callable[[Tensor], tuple[Tensor, ...]], where: str) -> dict[str, float]:
        """Return the largest difference of each output from the network's own.

        Every trial is asked about alone, and two together.

        Raises
        ------
        ExportError
            ``EXP-002`` if one exceeds the tolerance, or is not a number.
        """
        import torch

        largest = dict.fromkeys(OUTPUTS[self.name], 0.0)
        for batch in (*(trial[None] for trial in self.trials), self.trials[:2]):
            with torch.inference_mode():
                own, other = _tuple(self.question(batch)), run(batch)
            for output, ours, theirs in zip(largest, own, other, strict=True):
                same = ours.shape == theirs.shape
                apart = math.inf
                if same:
                    apart = float(((ours - theirs).abs() / ours.abs().clamp_min(1)).max())
                largest[output] = max(largest[output], math.inf if math.isnan(apart) else apart)
        output, worst = max(largest.items(), key=lambda item: item[1])
        if worst > TOLERANCE:
            raise ExportError(
                "EXP-002",
                f"{self.name} in {where} differs from the model by {worst:.2g} in its {output} "
                f"(at most {TOLERANCE:g} is accepted)",
                "Try another format, or report it with the versions of torch and of that program.",
            )
        return {output: float(f"{apart:.3g}") for output, apart in largest.items()}


def trace(model: NormativeModel, *names: Name) -> Iterator[Graph]:
    """Yield graphs of the questions to a model's network, one after the other.

    The trials look like what comes later: the template, and draws from the cohort's latents with
    some noise.

    Raises
    ------
    ExportError
        ``EXP-003`` if the network gives the same volume for every scan, ``EXP-004`` if torch
        cannot trace it, ``EXP-006`` if it is in the patch form.
    """
    import torch

    from napari_normative.core.portable import questions

    kind = model.card.network.kind
    if kind in {"atlas", "threshold"}:
        raise ExportError(
            "EXP-003",
            f"a model of the kind {kind} has no network: it gives the same volume for every scan",
            "Use that volume itself (model.decode), or export another model.",
            subject=model.card.name,
        )
    if getattr(model.card.network, "window", None):
        raise ExportError(
            "EXP-006",
            "a network that sees windows is not one graph: it looks at as many as hold foreground",
            "Use it in this program (model.reconstruct_to), or export another model.",
            subject=model.card.name,
        )
    asked = questions(model.network("cpu"))
    volumes, latents = _trials(model)
    for name in names:
        trials = latents if name == "decode" else volumes
        # Two at a time: a batch of one would be traced as a constant, and by the fast path of
        # a single volume. The other way of tracing takes len() of a tensor for a constant too.
        example = torch.zeros_like(trials[:2])
        try:
            with quiet():
                program = torch.export.export(
                    asked[name],
                    (example,),
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                    strict=True,
                )
        except Exception as error:  # torch raises many kinds; none says what a person can do
            raise ExportError(
                "EXP-004",
                f"torch cannot trace {name} of this network ({type(error).__name__})",
                "Report it with the versions of torch and napari-normative.",
                subject=model.card.name,
            ) from error
        _forget_places(program)
        program.example_inputs = None  # zeros, which would be stored
        yield Graph(name, asked[name], program, trials)


def write_onnx(graph: Graph, path: Path, about: Mapping[str, str]) -> dict[str, float]:
    """Write a graph as ONNX and compare it in onnxruntime; return the differences."""
    import torch

    with installed("onnxscript", "onnxruntime"):
        import onnxruntime
        import onnxscript  # noqa: F401 - torch asks for it late, and at length
    with quiet():
        made = torch.onnx.export(
            graph.program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUTS[graph.name]],
            output_names=list(OUTPUTS[graph.name]),
            dynamic_shapes={INPUTS[graph.name]: {0: "batch"}},
        )
    assert made is not None
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of source with the folders of this machine
    made.model.metadata_props.update(about)
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> tuple[Tensor, ...]:
        answers = session.run(None, {INPUTS[graph.name]: batch.numpy()})
        return tuple(torch.from_numpy(answer) for answer in answers)

    return graph.compare(run, "ONNX")


def write_torch(graph: Graph, path: Path, about: Mapping[str, str]) -> dict[str, float]:
    """Write a graph as torch.export does and compare what comes back; return the differences."""
    import torch

    with quiet():
        torch.export.save(graph.program, path, extra_files={"about.json": json.dumps(dict(about))})
        again = torch.export.load(path).module()
    return graph.compare(lambda batch: _tuple(again(batch)), "torch.export")


def about(model: NormativeModel) -> dict[str, str]:
    """Return what every file of an export says of itself, should it lose its folder."""
    card = model.card
    return {
        "name": card.name,
        "title": card.title,
        "model_sha256": model.digest,
        "license": card.license,
        "credit": card.credit,
        "intended_use": card.intended_use,
        "notice": RESEARCH_USE,
    }


@contextlib.contextmanager
def installed(*names: str) -> Iterator[None]:
    """Turn a missing package into a sentence.

    Raises
    ------
    ExportError
        ``EXP-001``
    """
    try:
        yield
    except ImportError as error:
        raise ExportError(
            "EXP-001",
            f"this needs {' and '.join(names)}, and {error.name} is not installed",
            'Run pip install "napari-normative[export]".',
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks of exporters about their own workings off the screen."""
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnx_ir")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)


def _trials(model: NormativeModel) -> tuple[Tensor, Tensor]:
    """Return volumes (n, C, I, J, K) and latents (n, ...) that look like real ones."""
    import numpy as np
    import torch

    latents = model.posterior.draw(TRIALS, SEED)
    latents[0] = model.posterior.mean
    inside, network = model.template.mask, model.network("cpu")
    # Without noise the template is all but the network's own mean: of a constant field the
    # normalisations magnify the last digits, in which programs differ. No scan is like that.
    random = np.random.default_rng(SEED)
    volumes = np.zeros((TRIALS, 1, *inside.shape), np.float32)
    for n in range(TRIALS):
        image = model.template.image
        if n:
            with torch.inference_mode():
                image = network.decode(torch.from_numpy(latents[n : n + 1]))[0, 0].numpy()
        noisy = image + random.normal(0, NOISE, inside.shape)
        volumes[n, 0] = np.where(inside, noisy, 0)
    return torch.from_numpy(volumes), torch.from_numpy(latents)


def _forget_places(program: ExportedProgram) -> None:
    """Take the lines of source, with the folders of this machine, out of a graph."""
    import torch

    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)


def _tuple(answer: Any) -> tuple[Tensor, ...]:
    return answer if isinstance(answer, tuple) else (answer,)
