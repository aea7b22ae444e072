#include "attention_tables.h"

#include <gptface/attention_few_queries.h>
#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionAvx512 = make_attention_kernels<Avx512, float>();
constinit const FewQueriesKernels kFewQueriesAvx512 = make_few_queries_kernels<Avx512, float>();

}  // namespace gptface
