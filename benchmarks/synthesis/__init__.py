"""Can the missing sample be made? Composites of known objects with what hurt others.

    python -m benchmarks.synthesis --part reproduction --seeds 0 3
    python -m benchmarks.synthesis --part pictures --seeds 0 1 3
    python -m benchmarks.synthesis --part training --seeds 3 4 5 --num-samples 32
    python -m benchmarks.synthesis --part leaks --seeds 3 4 5 --num-samples 32

``reproduction`` asks whether what is put around a known object makes the detector miss it, by
cause and recipe, against the same mask with another frame's pixels. ``pictures`` asks what a
picture costs, whether it can be drawn again to the byte, and whether its label holds. Read
``prepare`` (misses, their explanations, known objects), ``recipes`` (what is put around them),
``reproduction`` (what is measured) and ``report`` (bars and tables).

``training`` fine-tunes the first detectors of the loop's street world, which have had no part in
the choice of a recipe, on what ``arms`` says, and counts the siblings that are still missed:
``material`` (misses in frames that teach, what hurt there, known objects), ``arms`` (what is put
around known objects), ``training`` (one arm), ``repair`` (bars and table), ``harm`` (the holdout).
``leaks`` looks whether anything that judges got into it. What was made is kept in
``benchmarks/.cache``; a run that is cut goes on where it stopped.

``--world carla --data FOLDER`` asks the same of CARLA's towns: ``reproduction``, and of
``training`` whether drawn samples do harm.
"""
