#include "attention_tables.h"

#include <gptface/attention_amx_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionAmx = make_attention_amx_kernels<Amx>();

}  // namespace gptface
