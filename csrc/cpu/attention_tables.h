// One table of kernels a translation unit, each compiled for its instruction set.
#pragma once

#include <gptface/attention_few.h>

namespace gptface {

extern const AttentionKernels kAttentionPortable, kAttentionAvx2, kAttentionAvx512, kAttentionAvx512Bf16;
// By tiles, for bfloat16.
extern const AttentionKernels kAttentionAmx, kAttentionEmulatedAmx, kAttentionEmulatedAmxAvx512Bf16;
extern const FewQueriesKernels kFewQueriesPortable, kFewQueriesAvx2, kFewQueriesAvx512, kFewQueriesAvx512Bf16;

}  // namespace gptface
