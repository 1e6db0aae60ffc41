"""Can the missing sample be made? Composites of known objects with what hurt others.

    python -m benchmarks.synthesis --part reproduction --seeds 0 1 5

``reproduction`` asks whether what is put around a known object makes the detector miss it, by
cause and recipe, against the same mask with another frame's pixels. Read ``prepare`` (misses,
their explanations, known objects), ``recipes`` (what is put around them), ``reproduction`` (what is
measured) and ``report`` (bars and tables). What was made is kept in ``benchmarks/.cache``.
"""
