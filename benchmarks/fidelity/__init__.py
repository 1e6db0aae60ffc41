"""Are the explanations right? Section by section, each against something that is known.

    python -m benchmarks.fidelity --part all --models benchmarks/.cache --data DATA --threads 1

Every (part, detector, image, method) is a unit of work whose result is appended to a cache of
JSON lines, so that a stopped run goes on where it was; tables are made from the cache. Read
``cases`` for what is explained, ``methods`` for how costs are matched, then the parts:
``references`` (exact and converged Shapley values), ``figure2`` (the paper's), ``faithfulness``
(deletion, recovery, planted causes), ``sanity`` (randomised weights, other classes). Detectors
come from ``benchmarks.detectors``.
"""
