// VQ lookup on the CPU: torch's threads and the machine's instruction set under gptface/vq_lookup.h.
#include "vq_tables.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <torch/csrc/stable/ops.h>

#include <gptface/cpu_features.h>
#include <gptface/vq_lookup.h>

namespace gptface {

namespace {

// Narrower vectors would pay as much for a pair of bfloat16 in the selection as they save in the product; and few codes
// do not pay for packing them twice.
constexpr int64_t kLeastBFloat16Width = 32, kLeastPrefilterCodes = 256;

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
const VQKernels* bfloat16_kernels(const VQProblem& problem) {
  if (problem.width < kLeastBFloat16Width) return nullptr;
  if (tile_set() == TileSet::emulated) return &kVQEmulatedAmx;
#if defined(__x86_64__)
  if (tile_set() == TileSet::emulated_avx512_bf16) return &kVQEmulatedAmxAvx512Bf16;
#if defined(GPTFACE_AMX)
  if (tile_set() == TileSet::amx) return &kVQAmx;
#endif
  if (instruction_set() >= InstructionSet::avx512_bf16) return &kVQAvx512Bf16;
#endif
  return nullptr;
}

// What runs for a codebook's shape and the precision asked for; it does not depend on the rows.
struct Choice {
  const VQKernels& kernels;
  const VQKernels* first;
};

Choice choose(const VQProblem& problem) {
  const VQKernels* coarse = bfloat16_kernels(problem);
  if (problem.ranking_suffices && coarse) return {*coarse, nullptr};
  return {float32_kernels(), problem.codes >= kLeastPrefilterCodes ? coarse : nullptr};
}

// Before the packed codes; a cache line, so that what follows stays aligned.
struct alignas(64) PackedHeader {
  int64_t instruction_set, groups, codes, width, metric, ranking_suffices;
};
constexpr std::size_t kHeaderBytes = 6 * sizeof(int64_t);  // without what aligns it

PackedHeader header_of(const VQProblem& problem) {
  return {instruction_set_number(), problem.groups, problem.codes, problem.width,
          static_cast<int64_t>(problem.metric),    problem.ranking_suffices};
}

}  // namespace

int64_t vq_packed_bytes_cpu(const VQProblem& problem) {
  const Choice choice = choose(problem);
  return static_cast<int64_t>(sizeof(PackedHeader)) + vq_packed_bytes(choice.kernels, problem, choice.first);
}

void vq_pack_cpu(const VQProblem& problem, std::byte* memory) {
  const Choice choice = choose(problem);
  const PackedHeader header = header_of(problem);
  std::memcpy(memory, &header, sizeof(header));
  vq_pack(
      choice.kernels, problem, memory + sizeof(header), static_cast<int>(torch::stable::get_num_threads()),
      run_on_torch_threads, choice.first);
}

bool vq_lookup_cpu(const VQProblem& problem, const std::byte* packed, int64_t packed_bytes) {
  const Choice choice = choose(problem);
  if (packed) {
    PackedHeader found, wanted = header_of(problem);
    const bool readable = packed_bytes >= static_cast<int64_t>(sizeof(found)) &&
        reinterpret_cast<std::uintptr_t>(packed) % alignof(PackedHeader) == 0;
    if (!readable) return false;
    std::memcpy(&found, packed, sizeof(found));
    const bool same_layout = found.instruction_set == wanted.instruction_set;
    wanted.instruction_set = found.instruction_set;
    if (std::memcmp(&found, &wanted, kHeaderBytes) != 0) return false;
    if (!same_layout)
      packed = nullptr;
    else if (packed_bytes != vq_packed_bytes_cpu(problem))
      return false;
    else
      packed += sizeof(PackedHeader);
  }
  vq_lookup(
      choice.kernels, problem, static_cast<int>(torch::stable::get_num_threads()), run_on_torch_threads, choice.first,
      packed);
  return true;
}

}  // namespace gptface
