"""``python -m precompute methods``: measure every method of detecting on a workspace."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from aigi_core.encodings import open_encodings
from aigi_core.errors import AigiError, NotMadeError
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.transfer.board import (
    REFERENCE,
    by_what_is_measured,
    comparison,
    highest,
    measure_method,
    row_of,
    rows_of_methods,
    save_board,
)
from aigi_core.transfer.board_by_encoder import board_by_encoder
from aigi_core.workspace import Workspace, exclusive, write_atomic
from precompute.engine import add_engine_options, engine_from
from precompute.options import add_shared, file_to_write, whole_number
from precompute.shares import add_share_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``methods``."""
    add = add_shared(parser, "workspace")
    add(
        "--methods", nargs="+", metavar="NAME", help=f"only these of {', '.join(rows_of_methods())}"
    )
    add(
        "--table",
        type=file_to_write,
        metavar="FILE",
        help="also write the board as a markdown page",
    )
    add("--workers", type=whole_number, default=1, help="methods measured at once (default 1)")
    add_engine_options(parser)
    add_share_option(parser)


def run(args: argparse.Namespace) -> int:
    """Measure what is not stored yet; a method that cannot be trained here says why."""
    workspace = Workspace.open(args.workspace)
    wanted = args.methods or rows_of_methods()
    names, share = [one for one in dict.fromkeys([REFERENCE, *wanted]) if row_of(one)], args.shard
    wanted = share.of(names) if share else names
    engine, left = engine_from(args), dict.fromkeys(wanted)
    with nullcontext() if share else exclusive(workspace.path, "methods"), progress_line() as show:
        show(f"{counted(len(wanted), 'method')} ...")
        ended = engine.map(_measure, [(str(workspace.path), name) for name in wanted])
        for done, (number, sentence) in enumerate(ended, 1):
            print(sentence, file=sys.stderr, flush=True)
            del left[wanted[number]]
            # Not how long: a method takes a second or an hour, so those that ended do not tell.
            show(f"[{done}/{len(wanted)}]{' left: ' * bool(left)}{', '.join(left)}")
    if share:
        print(
            f"Share {share} is measured. When all {share.count} are, the same command without"
            " --shard makes the board."
        )
        return 0
    with exclusive(workspace.path, "methods"), threadpool_limits(1):
        table = save_board(Workspace.open(args.workspace))
    if args.table:
        page = page_of(table) + by_encoder(args.workspace) + by_hand(args.table)
        write_atomic(args.table, page.encode())
    print(
        f"The board of {counted(len(table), 'method')} lies in"
        f" {workspace.result_path('methods', '')}."
    )
    return 0


def _measure(path: str, name: str) -> str:
    """The unit of work: one method, measured and stored; the sentence on it."""
    try:
        with threadpool_limits(1):
            return measure_method(Workspace.open(path), name)
    except AigiError as error:
        if name == REFERENCE:
            raise
        return f"{row_of(name).title}: left out. {error}"


BY_HAND = "<!-- What follows was written by hand: the job keeps it. -->"


def by_hand(file: Path) -> str:
    """What stands in a page of before after the line :data:`BY_HAND`, with that line."""
    _, line, rest = file.read_text("utf-8").partition(BY_HAND) if file.is_file() else ("", "", "")
    return f"\n{line}{rest}" if line else ""


def page_of(table: pd.DataFrame) -> str:
    """The board as a page of markdown: a conclusion, the table, and how it was made."""
    best, split = highest(table), by_what_is_measured(table)
    columns = [*COLUMNS, "Over all generators"] if "all_generators" in split else COLUMNS
    lines = [
        "# Which way of detecting should I use?",
        "",
        f"Out of domain, {best.name} reaches the highest balanced accuracy of"
        f" {counted(best.of, 'method')} on"
        f" these images, {best.numbers()}. {comparison(table)}",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for _, row in split.iterrows():
        compared = pd.notna(row["difference"])
        cells = [
            row["title"],
            _with_interval(row, "in_domain"),
            _with_interval(row, "ood"),
            _with_interval(row, "difference", signed=True),
            f"{row['q_value']:.2g}" if compared else "-",
            _with_interval(row, "auc"),
            _with_interval(row, "real"),
            _with_interval(row, "fake"),
            _with_interval(row, "same_family"),
            _with_interval(row, "other_family"),
            f"{_with_interval(row, 'worst')} {str(row['worst_on']).replace('|', ' ')}",
            *(_calibration(row, name) for name in ("calibration", "calibration_ood")),
            f"{row['train_seconds']:.2f}",
            f"{row['score_seconds']:.2f}",
        ]
        if len(columns) > len(COLUMNS):
            cells.append(_with_interval(row, "all_generators"))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"Balanced accuracy, 95% intervals; out of domain are {counted(best.n, 'cell')} (trained"
        " on one generator, tested on another). One detector a generator, hyperparameters chosen on"
        " validation images, refitted on train plus validation, classes weighing alike. Differences"
        " are paired image by image, q by Benjamini-Hochberg over all methods, and apart"
        " from these over imported and fine-tuned detectors. Least found is"
        " the lowest of the generators, which its interval allows for. Family: out of domain, a"
        " generator of the family (GAN, diffusion, autoregressive) that was trained on, or of"
        " another. Seconds: all detectors, and all images by all of them, of one processor; of"
        " fine-tuned detectors by the clock.",
        "",
        "Calibration error: how far stated probabilities are from frequencies, in ten bins, all"
        " detectors together, real and fake images weighing alike; in brackets its interval and"
        " what faultless probabilities would show on as many images. Scores become probabilities on"
        " validation images of the detector's own generator, which it was not trained on for this.",
        "",
        "Imported and fine-tuned rows may be of one detector: its mean is over fewer cells, so that"
        " it is no candidate for the highest; it is compared with logistic regression trained on"
        " the same generator, where it has seen one. Where it is not known what it was trained on,"
        " no number of its row is out of domain.",
        "",
        "Scores of a detector that others trained become a row of the page Methods with",
        "`python -m precompute import-scores` (see the README).",
        "",
        "Made by `python -m precompute methods --workspace W --table docs/methods.md`.",
        "",
    ]
    return "\n".join(lines)


def by_encoder(path: Path) -> str:
    """The page's table of methods by encoder; nothing where they were measured on one alone."""
    encodings = open_encodings(path)
    try:
        table = board_by_encoder(encodings)
    except NotMadeError:
        return ""
    lines = [
        "",
        "## By encoder",
        "",
        f"| Method | Encoder | Out of domain | Less {next(iter(encodings))} | q |",
        "| --- | --- | --- | --- | --- |",
    ]
    for _, row in table.iterrows():
        compared = pd.notna(row["difference"])
        change = _with_interval(row, "difference", signed=True) if compared else "-"
        q = f"{row['q_value']:.2g}" if compared else "-"
        cells = (row["method"], row["encoder"], _with_interval(row, "ood"), change, q)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The same images, splits and draws; differences are paired image by image, q by"
        " Benjamini-Hochberg over all of them.",
        "",
    ]
    return "\n".join(lines)


COLUMNS = (
    "Method",
    "In domain",
    "Out of domain",
    "Less logistic regression",
    "q",
    "AUC",
    "On real",
    "On fakes",
    "Same family",
    "Other family",
    "Least found",
    "Calibration error, in domain",
    "Calibration error, out of domain",
    "Train, s",
    "Score, s",
)


def _calibration(row: pd.Series, name: str) -> str:
    text = _with_interval(row, name)
    return text if text == "-" else f"{text[:-1]}; {row[f'{name}_chance']:.3f} by chance)"


def _with_interval(row: pd.Series, name: str, *, signed: bool = False) -> str:
    if pd.isna(row[name]):
        return "-"
    form = "+.3f" if signed else ".3f"
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:{form}} ({low:{form}} to {high:{form}})"
