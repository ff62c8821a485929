"""Geometry: how evenly embeddings fill their space, before and after removal, and whether that goes
with transfer.
"""

from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.geometry.isotropy import (
    against_random,
    fewest_beyond_random,
    pair_changes,
    rank_correlation_of_pairs,
)
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import Finding, counted, number, part_counted
from aigi_core.transfer import d_eval_rows
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import choices


@ui.cached
def linked(
    workspace: Workspace, measure: str, beyond_random: bool
) -> tuple[pd.DataFrame, dict[str, float]]:
    atlas = results.atlas(workspace)
    changes = pair_changes(
        atlas.summary, atlas.geometry, measure, DEFAULT_METRIC, beyond_random=beyond_random
    )
    changes["images"] = [
        len(d_eval_rows(workspace.domains, pair))
        for pair in zip(changes["a"], changes["b"], strict=True)
    ]
    return changes, rank_correlation_of_pairs(changes)


with ui.page(__file__) as page:
    atlas = results.atlas(page.workspace)
    with page.controls():
        titles = {title: name for name, title in figures.MEASURES.items()}
        title = page.select("measure", "Measure", list(titles))
        beyond = page.toggle(
            "beyond",
            "Minus random removal",
            True,
            help=(
                "Removing any components raises IsoScore when the number of images stays the same."
                " On: the mean change by removing as many random components is subtracted."
            ),
        )
    measure = titles[title]
    changes, link = linked(page.workspace, measure, beyond)
    related = Finding(link["rho"], link["low"], link["high"], n=int(link["pairs"]), what="pair")
    verdict = related.claim(
        "a more even space goes with better transfer",
        "a more even space goes with worse transfer",
        "no reliable link was found",
    )
    if measure == "mean_cosine":
        verdict = verdict.replace("a more even space", "a higher mean cosine")
    every = against_random(atlas.geometry, measure)
    rises, above = every["after"] > every["before"], int(every["above"].sum())
    removals = atlas.stored.parameters["controls"]
    page.answer(
        f"Removal raises {title} for **{part_counted(rises.sum(), len(every), 'pair')}**;"
        f" for **{above or 'none'}** of them this is shown to go beyond what random removals do (5%"
        " FDR). Link with transfer:"
        f" {verdict}. Spearman's correlation of the two changes, of {title} and of balanced"
        f" accuracy out of domain: {related.numbers(2)}; the interval resamples generators."
    )
    fewest = fewest_beyond_random(len(every), removals)
    page.stats(
        [
            ui.Stat(
                "Spearman's rho",
                f"{link['rho']:+z.2f}",
                f"{counted(link['pairs'], 'pair')} of {counted(link['generators'], 'generator')}",
                (link["low"], link["high"]),
                "Rank correlation of the change in geometry and in OOD balanced accuracy; "
                "the interval resamples generators, not pairs.",
                "+.2f",
            ),
            ui.Stat(f"{title} rises", f"{int(rises.sum())}", f"of {counted(len(every), 'pair')}"),
            ui.Stat(
                "Beyond random",
                f"{above}",
                f"of {counted(len(every), 'pair')}, corrected",
                help=(
                    "The p-values of all pairs are corrected together (false discovery rate 5%)."
                    f" With {removals} random removals for each pair, a pair is counted only where"
                    f" at least {part_counted(fewest, len(every), 'pair', 'lie')} beyond all of"
                    " theirs."
                ),
            ),
        ]
    )
    page.protocol(
        geometry=(
            "Normalised embeddings of the test images of D_eval. IsoScore: (participation ratio -"
            " 1) / (components - 1), equal to the published algorithm. IsoScore*: the same after"
            " shrinkage towards the identity (zeta 0.2)."
        ),
        random=(
            f"{counted(removals, 'removal')} of as many random components for each pair. Beyond"
            " random: the two-sided p-value of each pair against its own, corrected over all pairs"
            " (Benjamini-Hochberg, false discovery rate 5%)."
        ),
        generalisation=(
            "How much removing the pair's components (page Components) changes OOD"
            " balanced accuracy on D_eval."
        ),
        intervals=intervals_in_words(None, "generators", "geometry"),
    )

    with page.controls():
        pair = choices.choose_pair(page)
    row = changes[[set(p) == set(pair) for p in zip(changes["a"], changes["b"], strict=True)]].iloc[
        0
    ]
    with page.picture():
        left, right = st.columns([5, 3], gap="medium")
        with left:
            st.markdown("Each point is a pair of generators used for the search. Click to open it.")
            points = changes.assign(
                name=changes["a"] + " / " + changes["b"],
                x=changes["geometry"],
                x_n=changes["images"],
                y=changes["change"],
                y_low=changes["change_low"],
                y_high=changes["change_high"],
                y_n=[counted(n, "cell") for n in changes["n"]],
                group="pairs of generators",
                detail=[
                    f"{counted(row['kept'], 'component')} kept"
                    + (
                        f"; 95% of random removals: {number(row['random_low'], signed=True)} to"
                        f" {number(row['random_high'], signed=True)}"
                        if beyond
                        else ""
                    )
                    for row in changes.to_dict("records")
                ],
            )
            if not beyond:
                ends = {f"x_{end}": changes[f"geometry_{end}"] for end in ("low", "high")}
                points = points.assign(**ends)
            against = "minus random removal" if beyond else "minus before"
            chosen = f"{row['a']} / {row['b']}"
            draw = partial(
                figures.scatter,
                points,
                named=[chosen],
                selected=chosen,
                reports=("a", "b"),
                alt=(
                    f"Change of {title} after removal {against} against change of OOD balanced"
                    f" accuracy, {counted(len(points), 'pair')}: Spearman {link['rho']:+z.2f}, 95%"
                    " interval"
                    f" {link['low']:+z.2f} to {link['high']:+z.2f}."
                ),
                x_title=f"{title} after, {against}",
                y_title="Change of OOD balanced accuracy",
                y_points=True,
                x_reference=0,
                y_reference=0,
            )
            page.figure("pairs", draw, table=changes, clicks=("d1", "d2"))
        with right:
            a, b = row["a"], row["b"]
            with page.section(
                "The opened pair",
                f"Searched on {ui.name(a)} and {ui.name(b)}; measured on all others.",
            ):
                own = atlas.geometry[(atlas.geometry["a"] == a) & (atlas.geometry["b"] == b)]
                draw = partial(
                    figures.geometry_change,
                    own,
                    int(row["images"]),
                    atlas.stored.parameters["controls"],
                )
                page.figure("pair", draw, table=own, formats=ui.OWN_UNITS)
                for one in own[own["measure"] == "isoscore"].to_dict("records"):
                    st.caption(
                        "A perfectly isotropic Gaussian cloud of as many images would score"
                        f" {one['isotropic_before']:.3f} before and {one['isotropic_after']:.3f}"
                        " after."
                    )
                page.link("components", "The search behind it", d1=a, d2=b)
