"""What the page Components says: the answer over all pairs, the caution beside the best of them,
and the paper's numbers beside those of the same cells here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from aigi_core.metrics import METRICS
from aigi_core.statements import ALPHA, Finding, counted, part_counted
from aigi_core.transfer import Atlas, highest_change, highest_pair
from aigi_core.transfer.pairs import Pair
from ui.toolkit.page import name

PAPER = (
    "CLIP ViT-L/14, plain accuracy, all cells of the generators not searched on: 0.777 → 0.797 for"
    " the pair SD-1.4 and ProGAN; best pair 0.812 (Kandinsky and CycleGAN)."
)
"""What the paper reports of removal (Gaintseva et al. 2024)."""
PAPERS = {"metric": "accuracy", "cells": "D_eval"}
"""The metric and the cells of :data:`PAPER`."""


@dataclass(frozen=True, eq=False)
class Searched:
    """The pairs of an atlas in one metric, out of domain.

    Attributes:
        pairs: of :meth:`aigi_core.transfer.Atlas.removals`.
        possible: pairs that the atlas's generators can form.
    """

    pairs: pd.DataFrame
    possible: int
    metric: str

    @classmethod
    def of(cls, atlas: Atlas, metric: str) -> Searched:
        count = len(atlas.generators)
        return cls(atlas.removals(metric), count * (count - 1) // 2, metric)

    def answer(self) -> str:
        """The page's answer: for how many pairs removal helps, and the highest change."""
        pairs, highest = self.pairs, highest_pair(self.pairs)
        if highest is None:
            return (
                "The effect of removal on other generators cannot be measured, because only"
                " one generator is left besides the two of a search. Measuring it needs two:"
                " a detector trained on one and tested on the other. Add images of a fourth"
                " generator."
            )
        sure = pairs[pairs["q_value"] < ALPHA]
        better, worse = sure[sure["change"] > 0], sure[sure["change"] < 0]
        beyond = better[better["after"] > better["random_high"]]
        helps = 2 * len(beyond) > len(pairs)
        lead = (
            f"{'As' if helps else 'Unlike'} in the paper, removing components"
            f" {'helps' if helps else 'does not help'} here: it"
            if len(pairs) == self.possible
            else f"Only {part_counted(len(pairs), self.possible, 'pair', 'were')} searched, which"
            " does not show whether removing components helps here as in the paper. On these it"
        )
        random = (
            (
                f"; {len(beyond)} of the improved pairs also"
                f" {'does' if len(beyond) == 1 else 'do'} better than random removals"
                " of as many components"
            )
            if len(better)
            else ""
        )
        best, change = highest
        chosen = (
            f"; as the highest of {len(pairs)} it is likely to be overestimated"
            if len(pairs) > 1 and change.value > 0
            else ""
        )
        return (
            f"{lead} improves {METRICS[self.metric].in_words} on other generators for"
            f" **{part_counted(len(better), len(pairs), 'pair')}** and worsens it for"
            f" **{len(worse)}** (5% FDR){random}. Highest change on these images:"
            f" {name(str(best['a']))} with {name(str(best['b']))}, {change.points()}{chosen}."
        )


def here(atlas: Atlas, pair: Pair, own: bool) -> str:
    """What removal does here in the paper's cells and metric, for the opened pair and the best.

    Args:
        own: the removal is the search's own, which alone was measured so.
    """
    table = atlas.removals(**PAPERS)
    what = "plain accuracy, all cells of the generators not searched on"
    opened = table[[set(names) == set(pair) for names in zip(table["a"], table["b"], strict=True)]]
    if not own or not opened["change"].notna().any():
        why = (
            "this was measured only for lists that are cut as the protocol says"
            if not own
            else "too few generators are left"
        )
        return (
            f"**Here** no number can be compared with the paper's ({what}): {why}. Those above"
            " are means of out-of-domain cells."
        )
    one = opened.iloc[0]
    change = Finding.of_row(
        one, "change", p_value=one["p_value"], n=int(one["n"]), what="paired cell"
    )
    text = (
        f"**Here, by the paper's measure** ({what}), for the opened pair:"
        f" {one['before']:.3f} ({one['before_low']:.3f} to {one['before_high']:.3f}) →"
        f" **{one['after']:.3f}** ({one['after_low']:.3f} to {one['after_high']:.3f},"
        f" {counted(one['n'], 'cell')}), a change of {change.points()}."
    )
    if (most := highest_change(table)) and len(table) > 1:
        text += f" Highest change: {name(most.name)}, {most.points()}."
    return (
        f"{text} Encoder, generators and images differ from the paper's. Plain accuracy also"
        " depends on the shares of fakes and real images, which are equal in the paper. So"
        " compare changes, not levels."
    )
