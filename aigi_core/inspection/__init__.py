"""One image against everything a workspace knows: what its detectors say, how sure they may be,
why, and whether it lasts.
"""

from aigi_core.exports import load_when_used

_MODULES = {
    "Copy": "copies",
    "NewGenerator": "new_generator",
    "Novelty": "novelty",
    "Panel": "panel",
    "PartEvidence": "parts",
    "Parts": "parts",
    "Removal": "parts",
    "Trust": "unseen",
    "build_panel": "panel",
    "calls_on_test": "known",
    "describe_generator": "new_generator",
    "find_files": "intake",
    "held_out_distances": "novelty",
    "likely_copies": "copies",
    "nearest_sources": "novelty",
    "open_image": "intake",
    "open_images": "intake",
    "perturbed_copies": "survival",
    "rates_by_pool": "known",
    "reliability_on_test": "known",
    "score_files": "score",
    "sides_on_test": "known",
    "choose_rule": "unseen",
    "trust_on_unseen": "unseen",
}

__getattr__ = load_when_used(__name__, _MODULES)
