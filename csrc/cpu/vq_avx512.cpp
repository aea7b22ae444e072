#include "vq_tables.h"

#include <gptface/vq_block.h>

namespace gptface {

constinit const VQKernels kVQAvx512 = make_vq_kernels<Avx512, float>();

}  // namespace gptface
