#include "attention_tables.h"

#include <gptface/attention_few_queries.h>
#include <gptface/attention_kernels.h>

namespace gptface {

constinit const AttentionKernels kAttentionPortable = make_attention_kernels<Portable, float>();
constinit const FewQueriesKernels kFewQueriesPortable = make_few_queries_kernels<Portable, float>();

}  // namespace gptface
