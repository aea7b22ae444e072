// VQ lookup on the CPU: torch's threads and the machine's instruction set under gptface/vq_lookup.h.
#include "vq_tables.h"

#include <torch/csrc/stable/ops.h>

#include <gptface/cpu_features.h>
#include <gptface/vq_lookup.h>

namespace gptface {

namespace {

// Narrower vectors would pay as much for a pair of bfloat16 in the selection as they save in the product; and few codes
// do not pay for packing them twice.
[[maybe_unused]] constexpr int64_t kLeastBFloat16Width = 32, kLeastPrefilterCodes = 256;

void run_on_torch_threads(int workers, void (*body)(int worker, void* context), void* context) {
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) body(static_cast<int>(worker), context);
  });
}

const VQKernels& float32_kernels() {
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
  if (set >= InstructionSet::avx512) return kVQAvx512;
  if (set == InstructionSet::avx2) return kVQAvx2;
#endif
  return kVQPortable;
}

// Kernels with words of bfloat16, or null where there are none or they would not pay.
const VQKernels* bfloat16_kernels([[maybe_unused]] const VQProblem& problem) {
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::avx512_bf16 && problem.width >= kLeastBFloat16Width) return &kVQAvx512Bf16;
#endif
  return nullptr;
}

}  // namespace

void vq_lookup_cpu(const VQProblem& problem) {
  const int workers = static_cast<int>(torch::stable::get_num_threads());
  const VQKernels* coarse = bfloat16_kernels(problem);
  if (problem.ranking_suffices && coarse)
    vq_lookup(*coarse, problem, workers, run_on_torch_threads);
  else
    vq_lookup(
        float32_kernels(), problem, workers, run_on_torch_threads,
        problem.codes >= kLeastPrefilterCodes ? coarse : nullptr);
}

}  // namespace gptface
