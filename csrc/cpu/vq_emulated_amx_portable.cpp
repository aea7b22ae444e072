#include "vq_tables.h"

#include <gptface/vq_amx.h>

namespace gptface {

constinit const VQKernels kVQEmulatedAmx = make_vq_kernels<EmulatedAmx, BFloat16Pair>();

}  // namespace gptface
