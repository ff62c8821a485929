"""WebDataset and img2dataset: files of one name form a sample (``000017.jpg``, ``000017.json``,
``000017.txt``, ``000017.cls``), in tars or folders; the class stands beside the image.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from aigi_core.errors import AigiError
from aigi_core.images import read_bytes
from aigi_core.record import read_json
from aigi_core.statements import counted
from precompute.ingest.layouts.base import Layout, Reading, Tree, split_of
from precompute.ingest.listing import LIKELY, describe, first_named
from precompute.ingest.polarity import folder_signs, may_be_class
from precompute.ingest.tables import Table
from precompute.ingest.walk import FileEntry

SHAPE = "<key>.jpg beside <key>.json or <key>.cls with the label, in tars or folders"


def parse(tree: Tree) -> Reading | None:
    """Images with a label beside them (``label`` in the json, or a class number in ``.cls``)."""
    sidecars = tree.sidecars
    described = (".json", ".cls", ".label.txt")
    if not any(set(beside) & set(described) for beside in sidecars.values()):
        return None
    records, images = [], []
    for image in tree.files:
        beside = tree.beside(image.path)
        record = sample(tree.root, beside)
        if ".cls" in beside and "label" not in record:
            record["label"] = _text(tree.root, beside[".cls"]).strip()
        records.append(record)
        images.append(image)
    named = tree.answers.columns.get("label", "label")
    labelled = [i for i, record in enumerate(records) if str(record.get(named, "")) != ""]
    words = {str(records[i][named]) for i in labelled}
    told = bool(tree.answers.fake_labels or tree.answers.real_labels or tree.answers.columns)
    by_folder = not folder_signs(image.path for image in images).isna().any()
    if not labelled or (by_folder and not told and not any(map(may_be_class, words))):
        return None  # the folders name the class, and the labels are of something else
    names = list(dict.fromkeys(name for i in labelled for name in records[i]))
    columns = {
        name: pa.array([_plain(records[i].get(name)) for i in labelled], pa.string())
        for name in names
        if name not in ("path", "left_out")
    }
    paths = pd.Series([images[i].path for i in labelled], dtype=str)
    table = Table(
        tree.root, pa.table(columns), [f"the sample {path}" for path in paths], "read as samples"
    )
    known = first_named("generator", ("generator", *LIKELY["generator"]), names)
    known |= {"source_url": "url"} if "url" in names else {}
    filled: dict[str, pd.Series | str] = {"path": paths}
    if "split" not in names:
        filled["split"] = paths.map(split_of)
    listed = describe(table, tree.answers, known=known, filled=filled, strict_splits=False)
    rows = listed.table.assign(
        archive=[images[i].archive for i in labelled], offset=[images[i].offset for i in labelled]
    )
    skipped = len(images) - len(labelled)
    notes = (
        *listed.notes,
        *([f"{counted(skipped, 'file', 'have')} no label beside them."] if skipped else []),
    )
    why = f"{counted(len(rows), 'sample', 'have')} a label beside the image"
    return Reading(rows, why, notes, listed.questions)


def sample(root: Path, beside: dict[str, FileEntry]) -> dict[str, Any]:
    """What stands beside an image: the json's fields, the text as its caption, and texts that name
    a field (``000017.model.txt``).

    Raises:
        AigiError: a json that is none.
    """
    record: dict[str, Any] = {}
    if ".json" in beside:
        try:
            record = read_json(_text(root, beside[".json"]))
        except ValueError as error:
            raise AigiError(
                f"{beside['.json'].path} cannot be read as JSON ({error}): mend it or take it out."
            ) from error
        record = record if isinstance(record, dict) else {}
    if ".txt" in beside and not record.get("caption"):
        record["caption"] = _text(root, beside[".txt"]).strip()
    for suffix, file in beside.items():
        name = suffix.strip(".").rpartition(".")[0]
        if name and suffix.endswith((".txt", ".cls")):
            record.setdefault(name, _text(root, file).strip())
    return record


def _text(root: Path, file: FileEntry) -> str:
    return read_bytes(root / file.path, file.offset).decode("utf-8", "replace")


def _plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


LAYOUT = Layout(
    "samples", SHAPE, parse, over=("folders",), source="WebDataset, img2dataset", tabled=True
)
