"""What the compiled GPU kernels cost by arithmetic on their machine code: ``python -m benchmarks.static_cost``."""
