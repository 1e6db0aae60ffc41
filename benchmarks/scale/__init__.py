"""What a project costs as its pool grows from a thousand images to a million.

    python -m benchmarks.scale                    all of it, an hour of one core
    python -m benchmarks.scale --parts cycles --sizes 1000 10000
    python -m benchmarks.scale --parts resume --resume 100000

Parts: ``import`` (of files, :mod:`~benchmarks.scale.imports`), ``resume`` (an import that is killed
three times), ``stored`` (bytes an image with all its regions, :mod:`~benchmarks.scale.stored`),
``frames`` (accepted a second by a project with 20,000 labelled images and by a new one, on both
databases, :mod:`~benchmarks.scale.frames`), ``cycles`` (one project at each size,
:mod:`~benchmarks.scale.growth`: a cycle, the plan, the API, memory; and those policies that compare
the whole pool). A part that is not asked for keeps what the result file says of it.
"""
