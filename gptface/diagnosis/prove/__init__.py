"""``gptface prove``: run every GPU kernel against its float64 reference on the GPU at hand, and record the outcome."""

from __future__ import annotations

from gptface.diagnosis.prove.proof import KernelOutcome, Proof, prove, prove_tuned

__all__ = ["KernelOutcome", "Proof", "prove", "prove_tuned"]
