"""Which generator made an image: naming its source, "unknown" included, and which generators are
alike.
"""

from aigi_core.exports import load_when_used

_MODULES = {
    "Attribution": "report",
    "GeneratorTree": "tree",
    "METHODS": "namers",
    "Named": "named",
    "SourceTask": "task",
    "attribute": "report",
    "load_attribution": "report",
    "open_set": "unknown",
    "save_attribution": "report",
}

__getattr__ = load_when_used(__name__, _MODULES)
