"""What people read: the environment table of ``gptface doctor`` and the HTML report."""
