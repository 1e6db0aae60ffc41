"""Failure modes: failures that have one cause, and the same mode again in the next cycle."""

from curation.modes.clustering import FailureEvidence, Mode, ModeRules, Transform, cluster

__all__ = ["FailureEvidence", "Mode", "ModeRules", "Transform", "cluster"]
