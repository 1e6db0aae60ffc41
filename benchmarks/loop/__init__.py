"""Does explaining find better data? Retrieval without training, and the loop with training.

    python -m benchmarks.loop --world street --part retrieval --seeds 0 1 2 3 4
    python -m benchmarks.loop --world street --part training --seeds 0 1 2 --budgets 100 200
    python -m benchmarks.loop --world street --part field --seeds 0 1 2 --budgets 50 150
    python -m benchmarks.loop --world street --part cycles --seeds 0 1 2 --budgets 75

Read ``worlds`` and ``real`` (what is seen, missed and hidden), ``prepare`` and ``evidence``
(failures, explanations, vectors), ``arms`` (who competes), ``retrieval``, ``training``, ``field``
(learning from the failing frames) and ``cycles`` (what is measured), ``tested`` (by which figures),
``bars`` and ``table`` (what is written). Each arm and seed is a unit of work whose result is
appended to ``benchmarks/.cache``; a run that is cut goes on where it stopped.
"""
