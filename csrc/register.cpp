// Every dispatch entry of the native library, in one file. Schemas are defined in Python (gptface/ops/*/library.py).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_IMPL(gptface, CPU, m) { (void)m; }
