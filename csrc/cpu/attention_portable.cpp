#include "attention_tables.h"

#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionPortable = make_attention_kernels<Portable, float>();

}  // namespace gptface
