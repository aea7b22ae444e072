#include "vq_tables.h"

#include <gptface/vq_block.h>

namespace gptface {

constinit const VQKernels kVQAvx512Bf16 = make_vq_kernels<Avx512Bf16, BFloat16Pair>();

}  // namespace gptface
