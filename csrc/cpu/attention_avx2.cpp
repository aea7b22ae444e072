#include "attention_tables.h"

#include <gptface/attention_few_queries.h>
#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionAvx2 = make_attention_kernels<Avx2, float>();
constinit const FewQueriesKernels kFewQueriesAvx2 = make_few_queries_kernels<Avx2, float>();

}  // namespace gptface
