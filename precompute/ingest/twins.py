"""One picture in several files, saved anew: its bytes differ, its preview hardly does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from aigi_core.previews import preview_levels
from aigi_core.splits import components

NEAR, MEAN = 0.25, 2
"""Files of one name show one picture where their previews' waves (of 16 levels) differ by at most
so much on average, and their mean colours and scales (of up to 64 levels) by at most so much each.
Of 200 pictures of five kinds, 97 to 100% lay within after JPEG 90 and 50, WebP 70 and half the
size; of 9,061 pairs of different ones of one shape none did."""
DETAIL = 1
"""Level of the scale of brightness (of 31; the median of photographs is 2) from which previews that
are equal mean one picture under any name: plain grounds are alike."""
MOST = 1000
"""Files of one name that are compared: a name that more have says nothing."""


def pictures(paths: Sequence[str], previews: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two keys a file, "" for none: files that share one show the same picture, by equal previews,
    and by nearly equal ones under one name (without its folder and suffix).
    """
    levels = {preview: preview_levels(preview) for preview in set(previews) - {""}}
    equal = [p if p and levels[p].scale >= DETAIL else "" for p in previews]
    by_name: defaultdict[tuple[str, object], list[int]] = defaultdict(list)
    for i, (path, preview) in enumerate(zip(paths, previews, strict=True)):
        if preview:
            name = PurePosixPath(path).stem.lower()
            by_name[name, levels[preview].shape].append(i)
    near = [""] * len(paths)
    for rows in by_name.values():
        if not 1 < len(rows) <= MOST:
            continue
        means = np.array([levels[previews[i]].means for i in rows])
        waves = np.array([levels[previews[i]].waves for i in rows])
        for one, i in enumerate(rows):
            alike = (np.abs(waves - waves[one]).mean(axis=1) <= NEAR) & (
                np.abs(means - means[one]).max(axis=1) <= MEAN
            )
            first = rows[int(np.flatnonzero(alike)[0])]
            if first != i:  # chains end at the first of each
                near[i] = near[first] = near[first] or paths[first]
    return equal, near


def shown_again(paths: Sequence[str], contents: Sequence[str], *keys: Sequence[str]) -> int:
    """Files of which another shows the same picture in other bytes, by the keys of
    :func:`pictures`."""
    bytes_of: defaultdict[str, set[str]] = defaultdict(set)
    together = components(paths, *keys)
    for one, content in zip(together, contents, strict=True):
        bytes_of[one].add(content)
    return sum(len(bytes_of[one]) > 1 for one in together)
