#include "attention_tables.h"

#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionAvx512 = make_attention_kernels<Avx512, float>();

}  // namespace gptface
