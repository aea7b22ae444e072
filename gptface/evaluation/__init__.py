"""Measuring what systems do: faces to measure on, figures of merit, linear probes, and the pages people read."""
