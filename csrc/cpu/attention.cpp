// Masked attention on the CPU: torch's threads and the machine's instruction set under gptface/attention.h.
#include "attention_tables.h"

#include <torch/csrc/stable/ops.h>

#include <gptface/attention.h>
#include <gptface/cpu_features.h>

namespace gptface {

namespace {

void run_on_torch_threads(int workers, void (*body)(int worker, void* context), void* context) {
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) body(static_cast<int>(worker), context);
  });
}

int torch_threads() { return static_cast<int>(torch::stable::get_num_threads()); }

// bfloat16 multiplies as such where there is an instruction for it, and as float32 elsewhere; float16 as float32.
const AttentionKernels& kernels_for(const AttentionProblem& problem) {
  if (problem.type == ElementType::bfloat16 && tile_set() == TileSet::emulated) return kAttentionEmulatedAmx;
#if defined(__x86_64__)
  if (problem.type == ElementType::bfloat16 && tile_set() == TileSet::emulated_avx512_bf16)
    return kAttentionEmulatedAmxAvx512Bf16;
#if defined(GPTFACE_AMX)
  if (problem.type == ElementType::bfloat16 && tile_set() == TileSet::amx) return kAttentionAmx;
#endif
  const InstructionSet set = instruction_set();
  if (set >= InstructionSet::avx512_bf16 && problem.type == ElementType::bfloat16) return kAttentionAvx512Bf16;
  if (set >= InstructionSet::avx512) return kAttentionAvx512;
  if (set == InstructionSet::avx2) return kAttentionAvx2;
#else
  (void)problem;
#endif
  return kAttentionPortable;
}

const FewQueriesKernels& few_queries_kernels_for(const AttentionProblem& problem) {
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
  if (set >= InstructionSet::avx512_bf16 && problem.type == ElementType::bfloat16) return kFewQueriesAvx512Bf16;
  if (set >= InstructionSet::avx512) return kFewQueriesAvx512;
  if (set == InstructionSet::avx2) return kFewQueriesAvx2;
#else
  (void)problem;
#endif
  return kFewQueriesPortable;
}

}  // namespace

void masked_attention_cpu(const AttentionProblem& problem) {
  if (has_few_queries(problem)) {
    attention_few_queries(few_queries_kernels_for(problem), problem, torch_threads(), run_on_torch_threads);
    return;
  }
  attention_forward(kernels_for(problem), problem, torch_threads(), run_on_torch_threads);
}

int64_t masked_attention_backward_chunks_cpu(const AttentionProblem& problem) {
  return attention_backward_chunks(kernels_for(problem), problem);
}

void masked_attention_backward_cpu(const AttentionProblem& problem) {
  attention_backward(kernels_for(problem), problem, torch_threads(), run_on_torch_threads);
}

}  // namespace gptface
