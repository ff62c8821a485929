"""AI-ArtBench: paintings by style, and beside each style's folder those that models made in it."""

from __future__ import annotations

import re

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import Layout, Place, Reading, Tree, by_folder, split_of

SHAPE = "[{train,test}/]AI_<model>_<style> beside <style>"
MODELS = {"ld": "latent-diffusion", "sd": "stable-diffusion"}
"""What the data set calls its models, and their names."""
_MADE = re.compile(r"AI_([A-Za-z0-9.]+)_(.+)")


def parse(tree: Tree) -> Reading | None:
    """``[<split>/]<style>/`` holds paintings, ``[<split>/]AI_<model>_<style>/`` what a model made
    in that style; all are one pool.
    """
    places = {}
    made = {folder: _MADE.fullmatch(folder[-1]) for folder in tree.folders if folder}
    styles = {_style(found[2]) for found in made.values() if found}
    for folder, found in made.items():
        split = split_of("/".join((*folder, "")))
        if found:
            generator = MODELS.get(found[1].lower(), found[1].lower())
            places[folder] = Place(FAKE, generator, "artbench", split)
        elif _style(folder[-1]) in styles:
            places[folder] = Place(REAL, "", "artbench", split)
    if {place.label for place in places.values()} != {REAL, FAKE}:
        return None
    return by_folder(tree, places, SHAPE, NOTES)


def _style(name: str) -> str:
    """A style, which the folders of paintings and of models spell differently (``ukiyo-e``)."""
    return name.lower().replace("-", "_").replace(" ", "_")


NOTES = ("Styles are what the pictures show: all of them are one pool.",)
LAYOUT = Layout("artbench", SHAPE, parse, source="AI-ArtBench")
