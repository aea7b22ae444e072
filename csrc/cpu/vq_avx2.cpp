#include "vq_tables.h"

#include <gptface/vq_block.h>

namespace gptface {

constinit const VQKernels kVQAvx2 = make_vq_kernels<Avx2, float>();

}  // namespace gptface
