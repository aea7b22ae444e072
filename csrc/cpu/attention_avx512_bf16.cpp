#include "attention_tables.h"

#include <gptface/attention_few_queries.h>
#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionAvx512Bf16 = make_attention_kernels<Avx512Bf16, BFloat16Pair>();
constinit const FewQueriesKernels kFewQueriesAvx512Bf16 = make_few_queries_kernels<Avx512Bf16, BFloat16Pair>();

}  // namespace gptface
