"""What still holds of a workspace's results after its images changed, and what has to be computed
again.

A detector holds whose training and validation images are the same; imported scores hold where every
test image has one. All else rests on all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from threadpoolctl import threadpool_limits

from aigi_core import results
from aigi_core.commands import command, encoder_options
from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.presets import PRESETS, preset
from aigi_core.detectors.stored import load_detectors, save_detectors
from aigi_core.detectors.training import provenance_of, train
from aigi_core.encodings import encodings, update_commands
from aigi_core.errors import AigiError
from aigi_core.perturb import parse_ops
from aigi_core.statements import counted, part_counted
from aigi_core.stress.copies import perturb_command
from aigi_core.transfer import make_training_sets
from aigi_core.transfer.imported import KIND, carry_imports
from aigi_core.workspace import Workspace, digest_of, read_manifest
from precompute.detectors import complete_detectors


@dataclass(frozen=True, eq=False)
class Before:
    """A workspace as it was, read before its files change.

    Attributes:
        detectors: protocol -> those that were kept. trained_on: training set -> a digest of its
            training and validation images.
    """

    workspace: Workspace
    detectors: dict[str, list[LinearDetector]] = field(repr=False)
    trained_on: dict[tuple[str, ...], str] = field(repr=False)

    @classmethod
    def of(cls, workspace: Workspace) -> Before:
        """What is stored, and on which images it rests."""
        sets = make_training_sets(workspace.domains, "each generator").values()
        stored = {
            name: load_detectors(workspace, list(sets), protocol=preset(name).training)
            for name in PRESETS
        }
        digests = {names: _training_images(workspace, names) for names in sets}
        return cls(workspace, {k: v for k, v in stored.items() if v}, digests)


def carry(before: Before, after: Workspace, *others: Workspace) -> str:
    """Keep in the workspace as it is now what still holds; sentences on what was kept and what has
    to be computed again.

    Detectors of new generators are trained beside those that hold.

    Args:
        others: further workspaces whose images these are now; of their results, none is kept.
    """
    banks = ", ".join(after.text_banks) or "none"
    kept = ["features of known images", f"text banks ({banks})"]
    trained: list[str] = []
    for name in before.detectors:
        if held := _carry_detectors(before, after, name):
            kept.append(held[0])
            trained += filter(None, held[1:])
    if carried := carry_imports(before.workspace, after):
        kept.append(f"imported scores ({', '.join(carried)})")
    held = after.manifest.get("perturbed", {})
    if held:
        kept.append(f"perturbed copies ({', '.join(sorted(held))})")
    sources = (before.workspace, *others)
    gone = {
        slug: entry
        for workspace in reversed(sources)
        for slug, entry in workspace.manifest.get("perturbed", {}).items()
        if slug not in held
    }
    waiting = after.manifest.get("held", {})
    if some := [
        f"{waiting[slug]['images']:,} of {slug}" for slug in sorted(gone) if slug in waiting
    ]:
        kept.append(f"perturbed copies that wait for those of the other images ({', '.join(some)})")
    again = [
        perturb_command(after, parse_ops([entry["op"]])[0], recorded=entry)
        for _, entry in sorted(gone.items())
    ]
    stale = {job for workspace in sources for job in stale_jobs(workspace, after)}
    imports = results.lost_imports(after, sources)
    stale = (stale - {results.IMPORT}) | ({results.IMPORT} if imports else set())
    again += results.commands_again(after, sorted(stale), sources)
    again += update_commands(after.path).values()
    if before.workspace.path != after.path:
        again += _other_encodings(sources, after)
    lines = [f"Kept: {', '.join(kept)}."]
    if trained:
        lines.append(f"Trained, since they are new: {'; '.join(trained)}.")
    if again:
        lines += ["To be computed again, since the images changed:", *again]
    left = set(after.domains.generators)
    if of_no_use := sorted(
        str(one.parameters["name"])
        for one in results.current(before.workspace, KIND)
        if left <= set(one.content["trained_on"])
    ):
        lines.append(
            f"No longer of use: the scores of {', '.join(of_no_use)}, which has seen all generators"
            " that are left."
        )
    if imports:
        lines.append(
            "FILE is a table of scores of the images as they are now; what was a linear layer goes"
            " to import-detector again, under the same --name."
        )
    return "\n".join(lines)


def _other_encodings(sources: Sequence[Workspace], after: Workspace) -> list[str]:
    """The commands that make further encodings anew, which stayed where they were."""
    commands = {}
    for workspace in sources:
        for name, folder in list(encodings(workspace.path).items())[1:]:
            options = encoder_options(read_manifest(folder)["encoder"])
            commands[name] = command("encode", workspace=after.path, **{"as": name}, **options)
    return list(commands.values())


def stale_jobs(before: Workspace, after: Workspace) -> list[str]:
    """Jobs with results of the workspace before and none of it now; those of another folder stay
    there."""
    if before.path == after.path:
        return results.outdated_jobs(after)
    there = {note.parents[1].name for note in (before.path / "results").glob("*/*/*.json")}
    made = {note.parents[1].name for note in (after.path / "results").glob("*/*/*.json")}
    return sorted({results.JOBS.get(kind, kind) for kind in there - made})


def _carry_detectors(before: Before, after: Workspace, protocol: str) -> tuple[str, str] | None:
    """What is said of those that were kept, and of those that were trained beside them."""
    sets = list(make_training_sets(after.domains, "each generator").values())
    now = {names: _training_images(after, names) for names in sets}
    # They are what training on the workspace as it is now gives, and have to say so: a detector of
    # another workspace counts as one that has not seen the validation images.
    here = provenance_of(after)
    held = {
        detector.training_set: replace(detector, provenance=detector.provenance | here)
        for detector in before.detectors[protocol]
        if now.get(detector.training_set) == before.trained_on[detector.training_set]
    }
    if not held:
        return None
    used, missing = preset(protocol).training, [names for names in sets if names not in held]
    try:
        with threadpool_limits(1):
            trained = train(after, missing, protocol=used) if missing else []
    except AigiError:  # a generator without images in a split: the job names it
        return None
    by_set = held | {detector.training_set: detector for detector in trained}
    save_detectors(after, [by_set[names] for names in sets], used)
    complete_detectors(after, protocol=protocol)  # what is kept beside them, too
    which = "" if protocol == "ours" else f" of the protocol {protocol}"
    names = ", ".join(" + ".join(detector.training_set) for detector in trained)
    return (
        f"{part_counted(len(held), len(before.detectors[protocol]), 'detector')}{which}",
        f"{counted(len(trained), 'detector')}{which} ({names})" if trained else "",
    )


def _training_images(workspace: Workspace, names: tuple[str, ...]) -> str:
    """A digest of the images that a detector learns from, by split; empty where it has none."""
    try:
        rows = {split: workspace.domains.rows(names, split) for split in ("train", "val")}
    except AigiError:
        return ""
    hashes = workspace.images["content_hash"].to_numpy()
    return digest_of({split: hashes[of].tolist() for split, of in rows.items()})
