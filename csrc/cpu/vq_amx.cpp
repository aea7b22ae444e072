#include "vq_tables.h"

#include <gptface/vq_amx.h>

namespace gptface {

constinit const VQKernels kVQAmx = make_vq_kernels<Amx, BFloat16Pair>();

}  // namespace gptface
