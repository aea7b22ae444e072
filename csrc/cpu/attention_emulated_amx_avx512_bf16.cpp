#include "attention_tables.h"

#include <gptface/attention_amx_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionEmulatedAmxAvx512Bf16 = make_attention_amx_kernels<EmulatedAmxAvx512Bf16>();

}  // namespace gptface
