// One table of kernels a translation unit, each compiled for its instruction set.
#pragma once

#include <gptface/vq_problem.h>

namespace gptface {

extern const VQKernels kVQPortable, kVQAvx2, kVQAvx512, kVQAvx512Bf16;
// By tiles.
extern const VQKernels kVQAmx, kVQEmulatedAmx, kVQEmulatedAmxAvx512Bf16;

}  // namespace gptface
