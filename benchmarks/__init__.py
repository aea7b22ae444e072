"""Benchmarks a sceptic can run: ``python -m benchmarks attention --device cpu --quick``.

Every contender is checked before it is timed, contenders take turns within a run, and results are JSON from which all
tables and plots are made. Nothing here is part of the installed package, and of that only the public names are used.

pytest-benchmark is not used for this: it times one function after another, so that a machine which drifts during a run
favours some of them, and it knows no gate, no peak memory, no mask column and no CUDA events. It serves where it is
good, comparing one revision of this package with another: see ``benchmarks/regressions.py``.
"""
