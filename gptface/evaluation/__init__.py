"""Measuring a trained system: metrics, linear probes, the judge of edits."""
