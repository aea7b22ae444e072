"""Data: images, tar shards, captions, the procedural face generator, deterministic batches.

Nothing is imported here, so that one module does not pull in what only another one needs.
"""
