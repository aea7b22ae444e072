"""What only GPTFace is measured by: masked modelling, matching, edits, and its report."""
