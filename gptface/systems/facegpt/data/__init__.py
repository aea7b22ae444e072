"""What FaceGPT learns from: conversations, faces with known truth, sentences about named shapes, and their mixture."""
