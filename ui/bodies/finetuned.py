"""Fine-tuned detectors on the pages Methods and Inspect."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.errors import AigiError
from aigi_core.intervals import rates_by_group
from aigi_core.manifest import REAL
from aigi_core.statements import counted, part_counted
from aigi_core.transfer import finetuned
from ui.results import inspection
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, inert, name

stored = cached(finetuned.stored_runs)
names = cached(finetuned.finetuned_names)


def by_epoch(page: Page) -> None:
    """How each went: in domain against out of domain; nothing where none is stored."""
    held = names(page.workspace)
    if not held:
        return
    with page.section(
        "Fine-tuning by epoch",
        "Does fine-tuning improve detection on other generators, too, or only on its"
        " own? Measured on validation images.",
    ):
        with page.controls("Fine-tuned detectors"):
            chosen = page.select("finetuned", "Fine-tuned", held)
        run = stored(page.workspace, chosen)
        curve, kept = run.table("curve"), run.table("epochs").query("kept")["epoch"]
        runs, used = len(run.content["training_sets"]), run.content["settings"]["training"]
        last = curve[curve["epoch"] == curve["epoch"].max()].set_index("where")
        first = curve[curve["epoch"] == 0].set_index("where")
        sentences = [
            f"{where.capitalize()}: {first.loc[where, 'value']:.3f} before, {row['value']:.3f}"
            f" (95% interval {row['low']:.3f} to {row['high']:.3f}, {counted(row['n'], 'cell')})"
            " after the last epoch."
            for where, row in last.iterrows()
        ]
        page.finding(
            f"**{name(chosen)}**: mode {used['mode']}, objective {used['objective']},"
            f" {counted(runs, 'detector')}. {' '.join(sentences)} For each detector the epoch"
            " with the lowest validation loss on its own generators is kept: epoch"
            f" {kept.median():.0f} in the median ({kept.min()} to {kept.max()}). Epoch 0 is"
            " the start, a linear probe or captions: no later epoch was better."
        )
        draw = partial(figures.epoch_curves, curve)
        page.figure("epochs", draw, table=curve)


def on_image(page: Page, subject: inspection.Subject) -> None:
    """What the fine-tuned detectors say of one image; nothing where none is stored."""
    held = names(page.workspace)
    if not held:
        return
    with page.section(
        "Fine-tuned detectors",
        "Log-odds above zero mean generated. Beside each value stands the share of real"
        " validation images with at least this score. These images were used only to choose"
        " the epoch, not for training.",
    ):
        for one in held:
            try:
                table = _judgements(page, subject, one)
            except AigiError as error:
                st.caption(f"{name(one)}: {inert(str(error))}")
                continue
            fakes = int((table["log_odds"] > 0).sum())
            page.finding(
                f"**{name(one)}**: {part_counted(fakes, len(table), 'detector', 'call')} it"
                " generated."
            )
            page.table(f"finetuned-{held.index(one)}", table)
            if "caption" in table and _captions_split(table):
                st.caption(
                    "Some detectors call the image generated although “real photograph” is"
                    " its most probable caption: the captions of all generators together are"
                    " more probable."
                )


def _captions_split(table: pd.DataFrame) -> bool:
    """Whether an image is taken for generated although no generator is the most probable."""
    real = finetuned.captions_of(())[0]
    return bool(((table["log_odds"] > 0) & (table["caption"] == real)).any())


def _judgements(page: Page, subject: inspection.Subject, one: str) -> pd.DataFrame:
    workspace, run = page.workspace, stored(page.workspace, one)
    sets, stored_arrays = run.content["training_sets"], run.arrays("scores.npz")
    scores = stored_arrays["log_odds"]
    if subject.row is not None:
        odds, numbers = scores[:, subject.row], stored_arrays["named"][:, subject.row]
        named = [finetuned.captions_of(s)[n] for s, n in zip(sets, numbers, strict=True)]
    elif subject.pixels is None:
        raise AigiError("only the features of this image are stored: upload its file.")
    else:
        encoder = inspection.load_encoder(workspace)
        logits, captions = finetuned.run_on(workspace, one, encoder, subject.pixels[None])
        odds, named = logits[:, 0], [first for first, *_ in captions]
    by_captions = run.content["settings"]["training"]["objective"] == "captions"
    domains, rows = workspace.domains, list[dict[str, Any]]()
    real = (domains.labels == REAL) & (domains.split == "val")
    groups = domains.group_numbers(np.flatnonzero(real))
    for k, (names_of_set, value, own) in enumerate(zip(sets, odds, scores, strict=True)):
        (as_high,), ((low,), (high,)) = rates_by_group((own[real] >= value)[None] * 1.0, groups)
        rows.append(
            {
                "trained_on": " + ".join(names_of_set),
                "log_odds": float(value),
                "verdict": "generated" if value > 0 else "real",
                **({"caption": named[k]} if by_captions else {}),
                "real_as_high": as_high,
                "low": low,
                "high": high,
                "n": int(real.sum()),
            }
        )
    return pd.DataFrame(rows).sort_values("log_odds", ascending=False, ignore_index=True)
