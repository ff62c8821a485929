"""One image against everything a workspace knows: what its detectors say, how sure they may be,
why, and whether it lasts.
"""
