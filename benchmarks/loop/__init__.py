"""Does explaining find better data? Retrieval without training, and the loop with training.

    python -m benchmarks.loop --world street --part retrieval --seeds 0 1 2 3 4
    python -m benchmarks.loop --world street --part training --seeds 0 1 2 --budgets 100 200

Read ``worlds`` (what is seen, missed and hidden), ``prepare`` (failures, explanations, vectors),
``arms`` (who competes), ``retrieval`` and ``training`` (what is measured), ``table`` (what is
written). Each arm and seed is a unit of work whose result is appended to ``benchmarks/.cache``;
a run that is cut goes on where it stopped.
"""
