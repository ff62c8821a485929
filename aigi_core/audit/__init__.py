"""Can the label be guessed without looking? File facts, leaks, content, and what remains when they
are matched.
"""

from aigi_core.exports import load_when_used

_MODULES = {
    "Audit": "report",
    "AuditSettings": "cached",
    "Duplicates": "leaks",
    "FACTS": "facts",
    "Verdict": "verdict",
    "audit": "report",
    "file_facts": "facts",
    "load_audit": "cached",
    "save_audit": "cached",
    "verdicts": "verdict",
}

__getattr__ = load_when_used(__name__, _MODULES)
