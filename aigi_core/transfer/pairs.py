"""D_search and D_eval: the two generators that a search uses, and those that it is judged on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Int

from aigi_core.errors import AigiError
from aigi_core.manifest import Domains

Pair = tuple[str, str]


def d_eval(
    domains: Domains, d_search: Iterable[str], wanted: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The generators that a search on D_search may be judged on: all others, or those wanted.

    Raises:
        AigiError: an unknown generator, D_search that names one twice, a wanted one that is in
            D_search, or none left.
    """
    search = tuple(d_search)
    for name in search:
        domains.pools_of(name)
    if len(set(search)) < len(search):
        raise AigiError(
            f"D_search names {search[0]!r} twice: a search trains on one generator and scores"
            " on another, so choose two different ones."
        )
    for name in wanted or ():
        domains.pools_of(name)
        if name in search:
            raise AigiError(
                f"Generator {name!r} is in D_search and in D_eval: a search cannot be tested"
                " on a generator that it has used, so leave it out of one of them."
            )
    left = (
        tuple(name for name in domains.generators if name not in search)
        if wanted is None
        else tuple(wanted)
    )
    if not left:
        raise AigiError(
            f"No generator is left to test a search on {' and '.join(search)}: add images of"
            " a third generator."
        )
    return left


def d_eval_rows(domains: Domains, d_search: Iterable[str]) -> Int[np.ndarray, " n"]:
    """Rows of the test images that a search on D_search is judged on.

    Raises:
        AigiError: see :func:`d_eval`.
    """
    return domains.rows(d_eval(domains, d_search), "test")


def parse_pairs(text: str, domains: Domains) -> tuple[Pair, ...]:
    """Pairs of generators from ``all`` or ``A:B,C:D``, each in the order of the generators, once.

    A generator's name may itself hold colons or commas; every way to read the text is tried.

    Raises:
        AigiError: what is not a pair of two known generators.
    """
    names = domains.generators
    if text.strip() == "all":
        if len(names) < 3:
            raise AigiError(
                "A search needs two generators and a third to test it on, and there are"
                f" {len(names)}: add images of others."
            )
        return tuple(combinations(names, 2))
    known = {f"{a}:{b}": (a, b) for a in names for b in names}
    result: list[Pair] = []
    rest = text.strip()
    while rest:
        fitting = [key for key in known if rest == key or rest.startswith(f"{key},")]
        if not fitting:
            raise AigiError(
                f"{rest.split(',')[0]!r} is not a pair of generators: write A:B, or several as"
                f" A:B,C:D, or 'all'; there are {', '.join(names)}."
            )
        key = max(fitting, key=len)
        pair = known[key]
        d_eval(domains, pair)
        result.append((min(pair, key=names.index), max(pair, key=names.index)))
        rest = rest[len(key) :].lstrip(",").strip()
    if not result:
        raise AigiError("No pair of generators was named: write A:B, several as A:B,C:D, or 'all'.")
    return tuple(dict.fromkeys(result))
