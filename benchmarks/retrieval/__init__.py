"""The region index at size: recall against exact search, latency, memory, build and add time.

    python -m benchmarks.retrieval --data ../shared/data --sizes 100000 1000000 --threads 1
    python -m benchmarks.retrieval --codes --sizes --hashes

Read in this order: ``vectors`` (region vectors as an encoder makes them, in any number),
``measure`` (one size), ``duplicates`` (near-duplicate search), ``codes`` (what coding costs),
``__main__`` (table and bars). A size that has been measured stays in the result file and is skipped
unless ``--again`` is given.
"""
