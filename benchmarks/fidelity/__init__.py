"""Are the explanations right? Section by section, each against something that is known.

    python -m benchmarks.fidelity --part all --models benchmarks/.cache --data DATA --threads 1

Every (part, detector, image, method) is a unit of work whose result is appended to a cache of
JSON lines, so that a stopped run goes on where it was; tables are made from the cache. Read
``cases`` for what is explained, ``methods`` for how costs are matched, then the parts:
``references`` (exact and converged Shapley values), ``figure2`` (the paper's), ``faithfulness``
(deletion, recovery, planted causes), ``sanity`` (randomised weights, other classes), ``inside``
(CRP, LRP, FGVis). Detectors come from ``benchmarks.detectors``.

``--report`` makes the tables of what is cached, ``--write`` stores them under ``results``. The
parts of two cores' size (``--size small``) take an hour or two of one core, those of ``full``
want a GPU.
"""
