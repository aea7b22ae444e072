#include "attention_tables.h"

#include <gptface/attention_amx_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionEmulatedAmx = make_attention_amx_kernels<EmulatedAmx>();

}  // namespace gptface
