"""What trained PaCo-FR models are measured by: the leak of their tokens, and pictures of what they predict."""
