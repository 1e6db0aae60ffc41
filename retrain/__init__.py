"""The detector, its training and the decision to promote it.

Uses only the kernel of :mod:`curation` (types, errors, boxes, matching, images, manifest, formats
and the detector protocol). Knows no broker, database or network.
"""
