"""Can the label be guessed without looking? File facts, leaks, content, and what remains when they
are matched.
"""
