// VQ lookup on the CPU: torch's threads and the machine's instruction set under gptface/vq_lookup.h.
#include "vq_tables.h"

#include <torch/csrc/stable/ops.h>

#include <gptface/cpu_features.h>
#include <gptface/vq_lookup.h>

namespace gptface {

namespace {

// Narrower vectors would pay as much for a pair of bfloat16 in the selection as they save in the product.
[[maybe_unused]] constexpr int64_t kLeastBFloat16Width = 32;

void run_on_torch_threads(int workers, void (*body)(int worker, void* context), void* context) {
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) body(static_cast<int>(worker), context);
  });
}

const VQKernels& kernels_for(const VQProblem& problem, bool bfloat16) {
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
  if (set == InstructionSet::avx512_bf16 && bfloat16 && problem.width >= kLeastBFloat16Width) return kVQAvx512Bf16;
  if (set >= InstructionSet::avx512) return kVQAvx512;
  if (set == InstructionSet::avx2) return kVQAvx2;
#else
  (void)problem, (void)bfloat16;
#endif
  return kVQPortable;
}

}  // namespace

void vq_lookup_cpu(const VQProblem& problem, bool bfloat16) {
  const int workers = static_cast<int>(torch::stable::get_num_threads());
  vq_lookup(kernels_for(problem, bfloat16), problem, workers, run_on_torch_threads);
}

}  // namespace gptface
