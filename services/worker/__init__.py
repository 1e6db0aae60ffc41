"""Processes that do the work: relay, scheduler, workers, and the supervisor that runs them.

Read :mod:`shell` first (one unit from claim to commit), then :mod:`relay` and :mod:`reconciler`
(how a message gets lost without harm), then :mod:`supervisor`.
"""
