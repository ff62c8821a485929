"""What detectors, heads and images say in words, each saying beside what chance would say."""

from aigi_core.exports import load_when_used

_MODULES = {
    "Comparison": "compare",
    "Evidence": "evidence",
    "Lexicon": "lexicon",
    "Nameability": "nameability",
    "Reading": "reading",
    "WordSettings": "cached",
    "Words": "words",
    "compare_directions": "compare",
    "concept_alignment": "concept",
    "content_words": "detector_words",
    "detector_words": "detector_words",
    "extreme_images": "heads",
    "head_direction": "heads",
    "head_words": "heads",
    "heads_alone": "heads",
    "heads_words": "heads",
    "mean_evidence": "evidence",
    "nearest": "neighbours",
    "read": "reading",
    "words_table": "detector_words",
}

__getattr__ = load_when_used(__name__, _MODULES)
