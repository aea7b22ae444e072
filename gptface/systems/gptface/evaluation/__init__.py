"""Measuring GPTFace: masked modelling, matching, trials of edits, and the report that shows them."""
