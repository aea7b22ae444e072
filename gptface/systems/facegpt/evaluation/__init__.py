"""What FaceGPT is measured by: known truth, sentences, emission of ``<FACE>``, photos of people, and its baselines."""
