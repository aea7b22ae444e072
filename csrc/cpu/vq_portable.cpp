#include "vq_tables.h"

#include <gptface/vq_block.h>

namespace gptface {

constinit const VQKernels kVQPortable = make_vq_kernels<Portable, float>();

}  // namespace gptface
