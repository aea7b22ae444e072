#include "vq_tables.h"

#include <gptface/vq_amx.h>

namespace gptface {

constinit const VQKernels kVQEmulatedAmxAvx512Bf16 = make_vq_kernels<EmulatedAmxAvx512Bf16, BFloat16Pair>();

}  // namespace gptface
