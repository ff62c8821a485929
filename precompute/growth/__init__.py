"""Workspaces that grow and shrink: ``add``, ``remove``, ``subset``, ``merge``, ``splits``.

Each makes a new table of images and takes every feature that is already known by the image's
content; only images that no source has are encoded. The new state is made whole in a folder of its
own and then moved into place (``rewrite``); a killed job is finished by the same command.
"""
