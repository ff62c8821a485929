"""All of attribution for a workspace, computed by a job and read by pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core import results
from aigi_core.attribution.named import Named
from aigi_core.attribution.namers import NAMERS, MultinomialRegression, Namer
from aigi_core.attribution.task import SourceTask
from aigi_core.attribution.tree import GeneratorTree, confusion_tree, residual_tree
from aigi_core.attribution.unknown import fitted, open_set
from aigi_core.detectors.features import EmbeddingView
from aigi_core.reprs import ShortRepr
from aigi_core.results import ResultKind
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

KIND = ResultKind("attribution", "attribution of images to generators", job="attribution", format=1)
INSPECTED = MultinomialRegression.name
"""The way of naming by which Inspect names the source of an image."""


@dataclass(frozen=True)
class AttributionSettings:
    """What attribution is computed with."""

    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(ShortRepr):
    """Which generator made it, answered on test images.

    Attributes:
        named: way of naming -> what it did.
        unknown: way of naming -> its :func:`~aigi_core.attribution.unknown.open_set`.
        parameters: way of naming -> what was chosen on validation.
        trees: residuals, and confusions of each way; empty with fewer than three generators.
        regression: the trained regression, which names the source of any image.
        left_out: generator -> why it is no source.
    """

    named: dict[str, Named]
    unknown: dict[str, pd.DataFrame]
    parameters: dict[str, dict[str, Any]]
    trees: dict[str, GeneratorTree]
    regression: MultinomialRegression
    left_out: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The sources, real images first."""
        return next(iter(self.named.values())).names

    def likely_sources(self, embedding: Float[np.ndarray, " d"]) -> pd.DataFrame:
        """Sources of one image by the regression, the likeliest first: ``source, probability``
        (if every source were as frequent). ``attrs["unknown"]`` says whether the likeliest lies
        below the limit that 95% of known validation images pass.

        Args:
            embedding: not normalised.

        Raises:
            AigiError: an embedding of length zero.
        """
        scores = self.regression.scores(unit_rows(np.asarray(embedding, np.float64)[None]))[0]
        order = np.argsort(-scores, kind="stable")
        table = pd.DataFrame(
            {"source": [self.names[i] for i in order], "probability": scores[order]}
        )
        table.attrs["unknown"] = bool(scores.max() < self.regression.limit)
        return table


def attribute(
    workspace: Workspace,
    settings: AttributionSettings | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> Attribution:
    """Train every way of naming on the training split, choose and set limits on validation, and
    name the test images.

    Raises:
        AigiError: the workspace lacks real images in a split, or a generator with images in all.
    """
    settings, domains = settings or AttributionSettings(), workspace.domains
    task, features = SourceTask.of(domains), EmbeddingView().matrix(workspace)
    test = task.rows("test")
    rivals = task.rivals(test)
    named = {}
    unknown = {}
    parameters = {}
    trained = dict[str, Namer]()
    for name, method in NAMERS.items():
        tell(method.title)
        namer = trained[name] = fitted(features, task, method)
        scores = namer.scores(features[test])
        named[name] = Named(
            task.names,
            test,
            task.source[test],
            scores.argmax(axis=1),
            np.where(rivals, scores, -np.inf).argmax(axis=1),
            rivals.sum(axis=1),
            task.group[test],
        )
        parameters[name] = namer.parameters | {"limit": namer.limit}
        unknown[name] = open_set(features, domains, method, tell)
    generators = [g for g in domains.generators if g not in task.left_out]
    trees = {}
    if len(generators) > 2:
        tell("trees")
        trees["residuals"] = residual_tree(
            features, domains, generators, settings.draws, settings.seed
        )
        for name, own in named.items():
            trees[f"confusions, {name}"] = confusion_tree(own, settings.draws, settings.seed)
    regression = trained[INSPECTED]
    assert isinstance(regression, MultinomialRegression)
    return Attribution(named, unknown, parameters, trees, regression, task.left_out)


def save_attribution(
    workspace: Workspace,
    made: Attribution,
    settings: AttributionSettings,
    about: Mapping[str, Any],
) -> None:
    """Publish among the workspace's results."""
    arrays = {
        f"{name}.{field}": getattr(own, field).astype(np.int32)
        for name, own in made.named.items()
        for field in ("rows", "truth", "named", "named_in_pool", "rivals", "group")
    }
    for name, tree in made.trees.items():
        arrays |= {
            f"{name}.{field}": getattr(tree, field)
            for field in ("distances", "linkage", "stability")
        }
    arrays |= {"weights": made.regression.weights, "bias": made.regression.bias}
    results.publish(
        workspace,
        KIND,
        asdict(settings),
        {
            "named.npz": arrays,
            **{f"unknown-{name}.parquet": table for name, table in made.unknown.items()},
        },
        content={
            "names": list(made.names),
            "parameters": made.parameters,
            "trees": {
                name: {
                    "names": list(tree.names),
                    "cophenetic": tree.cophenetic,
                    "chance": list(tree.chance),
                    "p_value": tree.p_value,
                    "draws": tree.draws,
                }
                for name, tree in made.trees.items()
            },
            "left_out": made.left_out,
        },
        about=about,
    )


def load_attribution(
    workspace: Workspace, settings: AttributionSettings | None = None
) -> Attribution:
    """What the job stored; with other settings where those asked for are not there.

    Raises:
        WorkspaceError: not computed, outdated or damaged; says what to run.
    """
    stored = results.find(workspace, KIND, asdict(settings or AttributionSettings()))
    arrays, content = stored.arrays("named.npz"), stored.content
    names = tuple(content["names"])
    try:
        named = {
            name: Named(
                names,
                **{
                    field: arrays[f"{name}.{field}"].astype(int)
                    for field in ("rows", "truth", "named", "named_in_pool", "rivals", "group")
                },
            )
            for name in content["parameters"]
        }
        trees = {
            name: GeneratorTree(
                tuple(about["names"]),
                arrays[f"{name}.distances"],
                arrays[f"{name}.linkage"],
                about["cophenetic"],
                tuple(about["chance"]),
                about["p_value"],
                arrays[f"{name}.stability"],
                about["draws"],
            )
            for name, about in content["trees"].items()
        }
        chosen = dict(content["parameters"][INSPECTED])
        regression = MultinomialRegression(
            parameters=chosen,
            limit=float(chosen["limit"]),
            weights=arrays["weights"],
            bias=arrays["bias"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise stored.damaged(error) from error
    return Attribution(
        named,
        {name: stored.table(f"unknown-{name}") for name in named},
        dict(content["parameters"]),
        trees,
        regression,
        dict(content["left_out"]),
    )
