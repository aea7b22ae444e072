"""Facts about a machine: what it has, which implementations run here, and which GPU kernels have passed their tests."""
