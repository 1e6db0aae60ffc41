"""How fast are the explanations, beside what the hardware could do and beside others?

    python -m benchmarks.speed --models benchmarks/.cache --data DATA --threads 2 --write

Sides that are compared run in turns, round by round, and ratios are medians over rounds. On a
machine that others use too, ``--threads 1 --clock cpu`` counts the processor time of this
process instead of the time that passed. Read ``scene`` (what is explained, and the clock), then
the parts: ``floor`` (the bare passes, the whole explanation, and where its time goes), ``growth``
(with samples, detections, segments; memory), ``workers`` (processes side by side), ``rivals``
(lime, captum), ``embedding``, ``precision`` (half against full). Detectors come from
``benchmarks.detectors``.
"""
