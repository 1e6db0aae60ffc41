"""Drift: which days are judged, with which frames; :mod:`curation.drift` judges them."""
