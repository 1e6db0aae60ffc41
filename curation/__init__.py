"""The science of Explain-to-Fix: from a failed detection to the samples that were missing.

Pure functions over arrays and the paths they are handed: no network, broker, database or
environment variable. Read in the order of the loop: :mod:`curation.failures` finds what went
wrong, :mod:`curation.explain` says why, :mod:`curation.regions` cuts out what hurt,
:mod:`curation.embedding` and :mod:`curation.index` look it up, :mod:`curation.select` spends the
budget.

Letters used in every shape comment:

====== =============================================================
``B``  images in a batch
``C``  channels
``H W`` height and width in pixels of the original image
``h w`` height and width of the network input
``N``  detections
``M``  truth boxes
``K``  classes, index 0 is background
``A``  default boxes (torchvision says anchors)
``S``  superpixels
``D``  embedding width
``T``  score targets (one default box and class each)
====== =============================================================
"""
