"""Methods against a plain loop: the whole matrix by linear SVM and by nearest neighbours against
scikit-learn's own estimators, and an epoch of fine-tuning against plain forward passes.

Shapes of thirteen generators that share their real images, as in the paper (for neighbours also
with real images of their own each). Both sides of a ratio see the same rows and give the same
decisions (this is checked, and how many agree is given); they run interleaved in one process, and
medians of the processor's seconds are given. The epoch is one of ``last`` on features cached before
the last block, of an untrained tower, against the tower's own forward pass over as many images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from aigi_core.detectors.detector import score_features
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.methods.neighbours import KS, NeighbourDetector
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import TrainingImages
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.vectors import unit_rows

SPLITS = (("train", 0.6), ("val", 0.15), ("test", 0.25))
LEAST_AGREEMENT = 0.999


def make_domains(generators: int, images: int, *, shared: bool) -> Domains:
    """As many fakes of each generator as real images: the same for all generators (as in the
    paper), or of a pool of its own for each.
    """
    share = np.cumsum([part for _, part in SPLITS])
    place = np.searchsorted(share, (np.arange(images) + 0.5) / images)
    split = np.array([name for name, _ in SPLITS])[np.minimum(place, 2)]
    names = [f"g{k}" for k in range(generators)]
    pools = ["all"] if shared else names
    of_generators = np.repeat(names, images)
    count = len(pools) * images + len(of_generators)
    return Domains(
        labels=(np.arange(count) >= len(pools) * images).astype(np.int8),
        generator=np.concatenate([[""] * (count - len(of_generators)), of_generators]).astype(str),
        pool=np.concatenate(
            [np.repeat(pools, images), ["all"] * len(of_generators) if shared else of_generators]
        ).astype(str),
        split=np.tile(split, len(pools) + generators),
        group=np.arange(count).astype(str),
        family_of=dict.fromkeys(names, "diffusion"),
    )


def make_features(domains: Domains, width: int) -> np.ndarray:
    """Unit rows; each generator shifts its fakes its own way."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((len(domains), width)) * np.geomspace(1, 0.1, width)
    for name in domains.generators:
        rows[domains.generator == name] += (
            0.25 * rng.standard_normal(width) * np.geomspace(1, 0.1, width)
        )
    return unit_rows(rows, "")


def loop_of_svms(X: np.ndarray, domains: Domains, parameters: Sequence[Any]) -> np.ndarray:
    """scikit-learn's LinearSVC, one fit a generator and value of C, then the refit and scores."""
    from sklearn.svm import LinearSVC

    rows = []
    grid = [point["C"] for point in METHODS["svm"].grid(Protocol())]  # type: ignore[attr-defined]
    for name, chosen in zip(domains.generators, parameters, strict=True):
        train, val = (domains.rows(name, split) for split in ("train", "val"))
        both = np.concatenate([train, val])
        for C in grid:
            one = LinearSVC(C=C, loss="hinge", class_weight="balanced", max_iter=20_000)
            one.fit(X[train], domains.labels[train]).score(X[val], domains.labels[val])
        last = LinearSVC(C=chosen["C"], loss="hinge", class_weight="balanced", max_iter=20_000)
        rows.append(last.fit(X[both], domains.labels[both]).decision_function(X))
    return np.stack(rows)


def loop_of_neighbours(X: np.ndarray, domains: Domains, detectors: Sequence[Any]) -> np.ndarray:
    """scikit-learn's NearestNeighbors on both banks, at each k on validation, then all images."""
    from sklearn.neighbors import NearestNeighbors

    def near(bank: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
        found = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank)
        mean: np.ndarray = 1 - found.kneighbors(query)[0].mean(axis=1)
        return mean

    rows = []
    for name, detector in zip(domains.generators, detectors, strict=True):
        train, val = (domains.rows(name, split) for split in ("train", "val"))
        both, fake = np.concatenate([train, val]), domains.labels > 0
        for k in KS:
            near(X[train[fake[train]]], X[val], k)
            near(X[train[~fake[train]]], X[val], k)
        margin = near(X[both[fake[both]]], X, detector.k) - near(
            X[both[~fake[both]]], X, detector.k
        )
        rows.append(margin - detector.offset)
    return np.stack(rows)


def against(
    method: str, X: np.ndarray, domains: Domains, loop: Callable[..., np.ndarray], repeats: int
) -> tuple[float, float]:
    """Seconds of the processor of scikit-learn's loop over ours, and the share of decisions that
    agree.
    """
    ours: list[float] = []
    theirs: list[float] = []
    agreement = 0.0
    for turn in range(repeats + 1):  # the first turn loads libraries and is not counted
        start = time.process_time()
        images = TrainingImages(X, domains)
        detectors = METHODS[method].train_on(images, domains.generators, Protocol())
        scores = score_features(detectors, X)
        ours.append(time.process_time() - start)
        start = time.process_time()
        given = (
            detectors
            if isinstance(detectors[0], NeighbourDetector)
            else [one.provenance["parameters"] for one in detectors]
        )
        other = loop(X, domains, given)
        theirs.append(time.process_time() - start)
        agreement = float(((scores > 0) == (other > 0)).mean())
        print(
            f"{method}: loop {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s, decisions alike"
            f" {agreement:.5f}",
            file=sys.stderr,
        )
        if agreement < LEAST_AGREEMENT:
            raise AigiError(f"{method}: the two decide differently; the ratio would mean nothing.")
        if not turn:
            ours.clear()
            theirs.clear()
    return median(theirs) / median(ours), agreement


def finetune_overhead(images: int, repeats: int) -> tuple[float, float]:
    """Seconds of an epoch of ``last`` over those of plain forward passes, and the latter."""
    import torch

    from aigi_core.clip import finetune as tuning
    from aigi_core.clip.encoder import load_encoder

    encoder = load_encoder("ViT-B-32", None, device="cpu")
    settings = tuning.Settings("last", epochs=1, batch_size=32)
    cut, size = tuning.Cut(encoder, settings), encoder.preprocessing.size
    pixels = torch.randn(images, 3, size, size, generator=torch.Generator().manual_seed(0))
    head = tuning.Head(np.zeros((2, encoder.embedding_width)), np.zeros(2))
    detector = tuning.Detector(cut, head)
    kept = torch.cat([cut.before(batch) for batch in torch.split(pixels, 32)]).half()
    optimizer = torch.optim.AdamW(list(detector.trained().values()), lr=1e-5)
    labels = torch.arange(images) % 2
    epochs: list[float] = []
    plain: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        for some, known in zip(torch.split(kept, 32), torch.split(labels, 32), strict=True):
            loss = torch.nn.functional.cross_entropy(detector.logits(some.float()), known)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        epochs.append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.inference_mode():
            for batch in torch.split(pixels, 32):
                encoder.tower(batch)
        plain.append(time.perf_counter() - start)
    return median(epochs) / median(plain), median(plain)


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; returns ``svm_ratio, knn_ratio, finetune_overhead`` and their setting."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks methods", description=__doc__)
    parser.add_argument("--generators", type=int, default=13)
    parser.add_argument("--images", type=int, default=400, help="of a class and generator")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--tuned", type=int, default=256, help="images of the epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reduced", action="store_true", help="a setting of half a minute")
    args = parser.parse_args(argv)
    if args.reduced:
        args.generators = 4
        args.images = 120
        args.width = 128
        args.tuned = 64
        args.repeats = 1
    own = make_domains(args.generators, args.images, shared=False)
    X = make_features(own, args.width)
    knn_own, _ = against("knn", X, own, loop_of_neighbours, args.repeats)
    domains = make_domains(args.generators, args.images, shared=True)
    X = make_features(domains, args.width)
    knn, knn_alike = against("knn", X, domains, loop_of_neighbours, args.repeats)
    svm, svm_alike = against("svm", X, domains, loop_of_svms, args.repeats)
    overhead, plain = finetune_overhead(args.tuned, args.repeats)
    return {
        "svm_ratio": round(svm, 2),
        "svm_decisions_alike": svm_alike,
        "knn_ratio": round(knn, 2),
        "knn_decisions_alike": knn_alike,
        "knn_ratio_own_reals": round(knn_own, 2),
        "finetune_overhead": round(overhead, 3),
        "plain_forward_s": round(plain, 2),
        "generators": args.generators,
        "images_a_class": args.images,
        "width": args.width,
        "tuned_images": args.tuned,
        "repeats": args.repeats,
    }
