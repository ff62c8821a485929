"""Results to plotly figures; nothing else draws.

Every function is pure: a result and a :class:`Theme` in, a ``plotly.graph_objects.Figure`` out,
with its alternative text in ``figure.layout.meta`` (:func:`alt_text`). Names of generators go
through :func:`label`.
"""

from aigi_core.figures.attribution import generator_tree, source_confusion, unknown_outcomes
from aigi_core.figures.audit import (
    association_intervals,
    content_intervals,
    fact_shares,
    matched_intervals,
    verdict_intervals,
    within_intervals,
    word_differences,
)
from aigi_core.figures.components import (
    MEASURES,
    geometry_change,
    pair_map,
    removal_curves,
)
from aigi_core.figures.curves import Curve, Roc, curves, roc, score_histogram
from aigi_core.figures.depth import depth_curves
from aigi_core.figures.evidence import evidence_bars
from aigi_core.figures.explain import (
    effect_intervals,
    head_curves,
    head_map,
    listed_words,
    nameability_intervals,
    nameability_scatter,
    role_intervals,
)
from aigi_core.figures.export import WIDTHS_MM, export, for_paper
from aigi_core.figures.few_shot import few_shot
from aigi_core.figures.finetuned import epoch_curves
from aigi_core.figures.generation import same_answers, step_curves
from aigi_core.figures.inspection import judges, patch_map, reliability_curve, survival_curves
from aigi_core.figures.map import image_cells, image_points
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.paired import column_intervals, paired_intervals, split_ranges
from aigi_core.figures.points import (
    interval_groups,
    intervals,
    out_of_domain_intervals,
    scatter,
)
from aigi_core.figures.stress import (
    component_scatter,
    generator_changes,
    robust_head_map,
    side_changes,
    strength_curves,
    training_gains,
)
from aigi_core.figures.theme import (
    DARK,
    LEAST_WIDTHS,
    LIGHT,
    Style,
    Theme,
    alt_text,
    finish,
    generator_styles,
    label,
    labels,
    least_width,
)
from aigi_core.figures.transfer import (
    Shown,
    block_intervals,
    cell_histogram,
    cell_roc,
    detector_intervals,
    difference_heatmap,
    generator_intervals,
    transfer_heatmap,
)
from aigi_core.figures.words import span_bars, word_list

__all__ = [
    "DARK",
    "LEAST_WIDTHS",
    "LIGHT",
    "MEASURES",
    "WIDTHS_MM",
    "Curve",
    "Roc",
    "Shown",
    "Style",
    "Theme",
    "alt_text",
    "association_intervals",
    "block_intervals",
    "cell_histogram",
    "cell_roc",
    "column_intervals",
    "component_scatter",
    "content_intervals",
    "curves",
    "depth_curves",
    "detector_intervals",
    "difference_heatmap",
    "effect_intervals",
    "epoch_curves",
    "evidence_bars",
    "export",
    "fact_shares",
    "few_shot",
    "finish",
    "for_paper",
    "generator_changes",
    "generator_intervals",
    "generator_styles",
    "generator_tree",
    "geometry_change",
    "head_curves",
    "head_map",
    "heatmap",
    "image_cells",
    "image_points",
    "interval_groups",
    "intervals",
    "judges",
    "label",
    "labels",
    "least_width",
    "listed_words",
    "matched_intervals",
    "nameability_intervals",
    "nameability_scatter",
    "out_of_domain_intervals",
    "pair_map",
    "paired_intervals",
    "patch_map",
    "reliability_curve",
    "removal_curves",
    "robust_head_map",
    "roc",
    "role_intervals",
    "same_answers",
    "scatter",
    "score_histogram",
    "side_changes",
    "source_confusion",
    "span_bars",
    "split_ranges",
    "step_curves",
    "strength_curves",
    "survival_curves",
    "training_gains",
    "transfer_heatmap",
    "unknown_outcomes",
    "verdict_intervals",
    "within_intervals",
    "word_differences",
    "word_list",
]
