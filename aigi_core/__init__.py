"""AIGI Explorer's library: what a detector of AI-generated images looks at, and whether it
transfers.

The rooms, each importing only those above it: ``manifest`` and ``workspace``; ``clip``;
``detectors``; ``transfer``, ``geometry``, ``explain`` and ``audit``; ``inspection``; ``figures``.
Nothing here knows of Streamlit.
"""

__version__ = "0.1.0"
SCHEMA_VERSION = 1
"""Version of the workspace format that this library writes and reads."""
