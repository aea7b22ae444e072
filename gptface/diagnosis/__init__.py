"""What this machine has and runs, and which kernels have been proved where."""
