"""The Overview's section on how images were generated."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.errors import NotGivenError
from aigi_core.manifest import STEPS
from aigi_core.statements import ALPHA, Finding, counted, part_counted
from aigi_core.transfer import make_training_sets
from aigi_core.transfer.generation import by_steps, same_answer
from aigi_core.workspace import Workspace
from ui import results
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, name


@cached
def questions(workspace: Workspace) -> tuple[pd.DataFrame | None, pd.DataFrame | None, list[str]]:
    """Tables of steps and of prompts, None where they cannot be had, and why."""
    setting = results.Setting(
        tuple(make_training_sets(workspace.domains, "each generator").values())
    )
    trained = results.detectors(workspace, setting)
    thresholds = np.array([detector.threshold for detector in trained])
    tables: list[pd.DataFrame | None] = []
    reasons = []
    for question in (by_steps, same_answer):
        try:
            tables.append(
                question(
                    workspace.images, results.scores(workspace, setting), setting.sets, thresholds
                )
            )
        except NotGivenError as missing:
            tables.append(None)
            reasons.append(str(missing))
    return tables[0], tables[1], reasons


def show(page: Page) -> None:
    """Both questions, each with its figure; where neither can be asked, one sentence.

    Raises:
        NotGivenError: neither steps nor several images of a prompt are known.
    """
    steps, prompts, reasons = questions(page.workspace)
    if steps is None and prompts is None:
        if STEPS in page.workspace.images.columns:
            raise NotGivenError(" ".join(reasons))
        raise NotGivenError(
            "This workspace does not record how its images were generated. A manifest with"
            " the columns 'steps' and 'group' (the prompt), as 'generate' writes it, shows"
            " here whether images of more steps are harder to detect, and whether images of"
            " one prompt get the same verdict."
        )
    if steps is not None:
        for _, row in (
            steps[steps["change"].notna()].groupby("model", sort=False).tail(1).iterrows()
        ):
            first = steps.loc[steps["model"] == row["model"], "steps"].iloc[0]
            page.finding(
                f"{name(row['model'])} at {row['steps']:g} steps is detected with a balanced"
                f" accuracy of **{row['value']:.3f}** (95% interval {row['low']:.3f} to"
                f" {row['high']:.3f}, {counted(row['n'], 'detector')} of other models,"
                f" {counted(row['n_fake'], 'image')}), against {first:g} steps a difference of"
                f" {Finding.of_row(row, 'change', n=row['n'], what='detector').points()}."
            )
        page.figure("steps", partial(figures.step_curves, steps), table=steps)
    if prompts is not None:
        clear = int(((prompts["change"] > 0) & (prompts["q"] <= ALPHA)).sum())
        page.finding(
            "Two images of one prompt get the same verdict more often than images of"
            f" different prompts for {part_counted(clear, len(prompts), 'generator')}"
            f" ({ALPHA:.0%} FDR; {_of_each(prompts['n'])})"
            + (": there the verdict depends on the content." if clear else ".")
        )
        page.figure("prompts", partial(figures.same_answers, prompts), table=prompts)
    for reason in reasons:
        st.caption(reason)


def _of_each(prompts: pd.Series) -> str:
    """Prompts of each generator, in words; not their sum, since generators may share prompts."""
    least, most = int(prompts.min()), int(prompts.max())
    return f"{'' if least == most else f'{least:,} to '}{counted(most, 'prompt')} each"
