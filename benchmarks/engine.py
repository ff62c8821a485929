"""The detector engine against scikit-learn: transfer matrix, component search, heads, growth of the
cost.

Threads are capped alike for both sides; runs are interleaved and medians reported. Where a side is
too slow to be run whole it is timed on a sample and scaled, and the result says so. ``--workspace``
repeats the matrix and the search on a workspace's own embeddings.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from aigi_core.detectors.components import search_pair
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import (
    PAPER_C,
    PAPER_MAX_ITER,
    Protocol,
    run_protocol,
    validation_scores,
)
from aigi_core.detectors.solvers.elimination import Elimination
from aigi_core.detectors.solvers.logistic import TOLERANCE, balance, fit_logistic
from aigi_core.detectors.training import TrainingImages, train_detectors
from aigi_core.manifest import Domains
from aigi_core.workspace import Workspace
from benchmarks._clip_like import clip_like
from benchmarks.bootstrap import bootstrap_seconds

CLASS_WEIGHT = Protocol().class_weight
SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky")
Block = tuple[np.ndarray, np.ndarray]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = perf_counter()
    result = function()
    return perf_counter() - start, result


def block(X: np.ndarray, domains: Domains, names: str, splits: str | tuple[str, ...]) -> Block:
    rows = domains.rows(names, splits)
    return X[rows], domains.labels[rows]


def sklearn_fit(X: np.ndarray, y: np.ndarray, C: float, solver: str) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches end at the last digit
        return LogisticRegression(
            C=C, solver=solver, tol=1e-12, max_iter=20_000, class_weight=CLASS_WEIGHT
        ).fit(X, y)


def gradient_norm(model: LogisticRegression, X: np.ndarray, y: np.ndarray, C: float) -> float:
    f = X @ model.coef_[0] + model.intercept_[0]
    weight = balance(y[:, None].astype(float), np.ones((len(y), 1)))[:, 0] if CLASS_WEIGHT else 1.0
    r = C * weight * (0.5 + 0.5 * np.tanh(f / 2) - y)
    return float(np.sqrt(((X.T @ r + model.coef_[0]) ** 2).sum() + r.sum() ** 2))


def score_key(model: LogisticRegression, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Minus accuracy, and log-loss: what choices are made by, smallest first."""
    accuracy, loss = validation_scores(model.decision_function(X)[:, None], y, CLASS_WEIGHT)
    return -float(accuracy[0]), float(loss[0])


def sklearn_path(train: Block, val: Block) -> tuple[float, float, float]:
    """Seconds of the path (validation and refit included) by the fastest solver that reaches our
    tolerance at each C, by L-BFGS however far it gets, and the C chosen."""
    fastest = 0.0
    loose = 0.0
    keys = []
    for C in PAPER_C:
        times = {}
        for solver in SOLVERS:
            seconds, model = timed(lambda solver=solver, C=C: sklearn_fit(*train, C, solver))  # type: ignore[misc]
            if gradient_norm(model, *train, C) < TOLERANCE:
                times[solver] = seconds
            if solver == "lbfgs":
                loose += seconds
        fastest += min(times.values(), default=np.nan)
        keys.append((*score_key(model, *val), C))  # newton-cholesky, the tightest
    C = min(keys)[2]
    both = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    refits = {}
    for solver in SOLVERS:
        seconds, model = timed(lambda solver=solver: sklearn_fit(*both, C, solver))  # type: ignore[misc]
        refits[solver] = seconds if gradient_norm(model, *both, C) < TOLERANCE else np.inf
        loose += seconds if solver == "lbfgs" else 0
    return fastest + min(refits.values()), loose, C


def matrix_paths(X: np.ndarray, domains: Domains, repeats: int, sample: int) -> dict[str, Any]:
    names = domains.generators
    ours = []
    theirs = []
    loose = []
    same: list[bool] = []
    sampled = names[:: max(1, len(names) // sample)][:sample]
    for repeat in range(repeats):
        seconds, detectors = timed(lambda: train_detectors(TrainingImages(X, domains), names))
        ours.append(seconds)
        name = sampled[repeat % len(sampled)]
        tight, quick, C = sklearn_path(
            block(X, domains, name, "train"), block(X, domains, name, "val")
        )
        theirs.append(tight * len(names))
        loose.append(quick * len(names))
        same.append(C == detectors[names.index(name)].C)
    return {
        "transfer_path_ratio": round(median(theirs) / median(ours), 2),
        "transfer_path": {
            "engine_seconds": round(median(ours), 3),
            "sklearn_seconds": round(median(theirs), 3),
            "sklearn_lbfgs_stalled_ratio": round(median(loose) / median(ours), 2),
            "same_C": all(same),
            "note": (
                f"scikit-learn timed on {min(repeats, len(sampled))} of {len(names)} generators,"
                f" one a run, and scaled; the fastest of {', '.join(SOLVERS)} that reaches a"
                " gradient of 1e-8 at each C. L-BFGS alone stops short of that at large C."
            ),
        },
    }


def matrix_grid(X: np.ndarray, domains: Domains) -> dict[str, Any]:
    names = domains.generators
    ours = median(
        timed(lambda: train_detectors(TrainingImages(X, domains), names))[0] for _ in range(3)
    )
    train, val = block(X, domains, names[0], "train"), block(X, domains, names[0], "val")
    theirs, grid = timed(lambda: run_protocol(train, val, Protocol(grid="paper")))
    path = run_protocol(train, val, Protocol())
    points = zip(
        *(grid.validation[k] for k in ("solver", "C", "max_iter", "accuracy", "log_loss")),
        strict=True,
    )
    last = [
        (C, a, loss)
        for solver, C, m, a, loss in points
        if solver == "lbfgs" and m == max(PAPER_MAX_ITER)
    ]
    converged = {C: accuracy for C, accuracy, _ in last}
    agree = [
        converged[C] == a
        for C, a in zip(path.validation["C"], path.validation["accuracy"], strict=True)
    ]
    return {
        "transfer_grid_ratio": round(theirs * len(names) / ours, 1),
        "transfer_grid": {
            "engine_seconds": round(ours, 3),
            "sklearn_seconds": round(theirs * len(names), 1),
            "same_accuracy_where_converged": f"{sum(agree)} of {len(agree)} values of C",
            "same_C_where_converged": min(last, key=lambda p: (-p[1], p[2], p[0]))[0] == path.C,
            "note": (
                f"the 96 points timed on 1 of {len(names)} generators and scaled; converged means"
                " lbfgs at 5,000"
            ),
        },
    }


def selection(
    X: np.ndarray, domains: Domains, repeats: int, steps: int, fits: int
) -> dict[str, Any]:
    pair = domains.generators[0], domains.generators[1]
    runs = [timed(lambda: search_pair(X, domains, pair, C=10.0, workers=2)) for _ in range(repeats)]
    seconds, search = median(run[0] for run in runs), runs[0][1]
    gap = 0.0
    brute = 0.0
    loose = 0.0
    same: list[bool] = []
    for direction, (trained, scored) in ((search.forward, pair), (search.backward, pair[::-1])):
        train, score = block(X, domains, trained, "train"), block(X, domains, scored, "val")
        gap = max(gap, score_gap(direction, train, score))
        tight, quick, agreed = brute_force(direction, train, score, steps, fits)
        brute, loose, same = brute + tight, loose + quick, same + agreed
    return {
        "selection_seconds": round(seconds, 2),
        "selection_ratio": round(brute / seconds),
        "selection_score_gap": gap,
        "selection": {
            "components": search.forward.d,
            "n_train": search.forward.n_train,
            "n_score": search.forward.n_score,
            "brute_force_seconds": round(brute),
            "ratio_to_default_tolerance": round(loose / seconds),
            "same_choice_as_brute_force": f"{sum(same)} of {len(same)} sampled steps",
            "note": (
                "both directions down to one component on two threads; brute force refits every"
                " candidate by scikit-learn's L-BFGS as tight as it gets (log-loss breaks ties, so"
                " a loose fit gives another list; at its default tolerance beside it), timed on"
                f" {fits} candidates at each of {steps} depths and scaled; scores checked by"
                " independent fits at 24 depths a direction"
            ),
        },
    }


def score_gap(searched: Elimination, train: Block, score: Block) -> float:
    """Largest difference between a reported accuracy and that of a detector fitted afresh by
    another solver.
    """
    gap = 0.0
    for t in np.linspace(0, len(searched.removed), 24).astype(int):
        kept = np.setdiff1d(np.arange(searched.d), searched.removed[:t])
        model = sklearn_fit(train[0][:, kept], train[1], searched.C, "newton-cholesky")
        gap = max(
            gap,
            abs(-score_key(model, score[0][:, kept], score[1])[0] - float(searched.accuracy[t])),
        )
    return gap


def brute_force(
    searched: Elimination, train: Block, score: Block, steps: int, fits: int
) -> tuple[float, float, list[bool]]:
    """Seconds that refitting all candidates at all steps would take, tightly and at the default
    tolerance, and whether exact fits of every candidate make the same choice at the sampled steps
    of at most 200 candidates."""
    depths, same = np.linspace(0, searched.d - 2, steps).astype(int), []
    costs = np.zeros((2, steps))
    for at, t in enumerate(depths.tolist()):
        kept = np.setdiff1d(np.arange(searched.d), searched.removed[:t])
        seconds = []
        for j in kept[:: max(1, len(kept) // fits)][:fits].tolist():
            X, y = train[0][:, kept[kept != j]], train[1]
            tight = timed(lambda X=X, y=y: sklearn_fit(X, y, searched.C, "lbfgs"))[0]  # type: ignore[misc]
            seconds.append((tight, timed(lambda X=X, y=y: brute_fit(X, y, searched.C))[0]))  # type: ignore[misc]
        costs[:, at] = np.median(seconds, axis=0) * len(kept)
        if len(kept) <= 200:
            same.append(best_candidate(kept, train, score, searched.C) == searched.removed[t])
    tight, loose = (
        float(np.interp(np.arange(searched.d - 1), depths, cost).sum()) for cost in costs
    )
    return tight, loose, same


def brute_fit(X: np.ndarray, y: np.ndarray, C: float) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=5000, class_weight=CLASS_WEIGHT).fit(X, y)


def best_candidate(kept: np.ndarray, train: Block, score: Block, C: float) -> int:
    full = fit_logistic(train[0][:, kept], train[1], C, class_weight=CLASS_WEIGHT)
    keys = []
    for k, j in enumerate(kept.tolist()):
        columns = np.delete(kept, k)
        start = replace(full, weights=np.delete(full.weights, k, axis=1))
        fit = fit_logistic(train[0][:, columns], train[1], C, init=start, class_weight=CLASS_WEIGHT)
        accuracy, loss = validation_scores(
            fit.decision_function(score[0][:, columns]), score[1], CLASS_WEIGHT
        )
        keys.append((-accuracy[0], loss[0], j))
    return int(min(keys)[2])


def heads(
    repeats: int, sample: int, layers: int = 24, per_layer: int = 16, width: int = 64, d: int = 768
) -> dict[str, Any]:
    """All heads along the C path: from the stored contexts to fits, against the same on 768-d
    contributions.
    """
    rng = np.random.default_rng(0)
    n, count = 1400, layers * per_layer
    y = np.arange(n) % 2
    spread = np.arange(1, width + 1) ** -0.4
    shift = 0.3 * rng.standard_normal((count, 1, width)) * y[:, None]
    contexts = ((rng.standard_normal((count, n, width)) + shift + 1) * spread).astype(np.float16)
    maps = rng.standard_normal((count, width, d)) / np.sqrt(d)
    scales = [
        float(1 / np.linalg.norm(z.astype(np.float64) @ M, axis=1).mean())
        for z, M in zip(contexts, maps, strict=True)
    ]

    def narrow(k: int) -> None:
        R = np.linalg.qr(maps[k].T, mode="r")
        fit_logistic(contexts[k].astype(np.float64) @ (scales[k] * R.T), y, np.array(PAPER_C))  # type: ignore[attr-defined]

    def wide(k: int) -> None:
        X = contexts[k].astype(np.float64) @ (scales[k] * maps[k])
        for C in PAPER_C:
            sklearn_fit(X, y, C, "lbfgs")

    ours, theirs = [], []
    for repeat in range(repeats):
        ours.append(sum(timed(lambda k=k: narrow(k))[0] for k in range(count)))  # type: ignore[misc]
        some = range(repeat * sample, (repeat + 1) * sample)
        theirs.append(sum(timed(lambda k=k: wide(k))[0] for k in some) * count / sample)  # type: ignore[misc]
    return {
        "heads_ratio": round(median(theirs) / median(ours), 1),
        "heads": {
            "heads": count,
            "engine_seconds": round(median(ours), 3),
            "sklearn_seconds": round(median(theirs), 1),
            "note": (
                "eight values of C each; scikit-learn's L-BFGS, as tight as it gets, on"
                f" {repeats * sample} of {count} heads, scaled"
            ),
        },
    }


def growth() -> dict[str, Any]:
    """Seconds of the 4 x 4 matrix's training and of a search both ways, at n, 2n, 4n and d, 2d."""
    rows = []
    for d, n in ((384, 700), (384, 1400), (384, 2800), (768, 700), (768, 1400), (768, 2800)):
        X, domains = clip_like(4, (n // 2, n // 4, n // 4), d)
        images = TrainingImages(X, domains)
        matrix = timed(partial(train_detectors, images, domains.generators))[0]
        pair = domains.generators[0], domains.generators[1]
        search = timed(partial(search_pair, X, domains, pair, C=10.0))[0]
        rows.append(
            {
                "d": d,
                "n": n,
                "matrix_seconds": round(matrix, 3),
                "selection_seconds": round(search, 2),
            }
        )
    return {"cost_growth": rows}


def main(argv: list[str]) -> dict[str, Any]:
    """Measure the parts asked for; see ``--help``."""
    parts = ("path", "selection", "heads", "bootstrap", "growth", "grid")
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine", description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=parts, default=parts, help="what to measure (all)"
    )
    parser.add_argument(
        "--workspace", help="a workspace whose embeddings take the place of random features"
    )
    parser.add_argument("--generators", type=int, default=13)
    parser.add_argument("--n", type=int, default=1400, help="training rows of a generator (1400)")
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(argv)
    if chosen.workspace:
        workspace = Workspace.open(chosen.workspace)
        X, domains = EmbeddingView().matrix(workspace), workspace.domains
    else:
        half = chosen.n // 2
        X, domains = clip_like(chosen.generators, (half, 3 * half // 7, 3 * half // 7), chosen.d)
    result: dict[str, Any] = {
        "data": {"d": X.shape[1], "generators": len(domains.generators), "rows": len(X)}
    }
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "path": lambda: matrix_paths(X, domains, chosen.repeats, sample=3),
        "selection": lambda: selection(X, domains, min(chosen.repeats, 3), steps=8, fits=3),
        "heads": lambda: heads(min(chosen.repeats, 3), sample=4),
        "bootstrap": bootstrap_seconds,
        "growth": growth,
        "grid": lambda: matrix_grid(X, domains),
    }
    with threadpool_limits(1):
        for part in chosen.parts:
            seconds, figures = timed(run[part])
            say(f"{part}: {seconds:.0f} s {figures}")
            result |= figures
    return result
