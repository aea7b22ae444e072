// Which CPU kernels run: the instruction sets there are, and the best one that this machine has.
//
// Kernels are templates over a tag below. A translation unit named for an instruction set is compiled with its flags
// and instantiates the template for its tag; nothing else may be instantiated there, or the linker could keep a copy
// of a shared inline function that older machines cannot run.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace gptface {

struct Portable {};    // GNU vector extensions, four lanes: any architecture
struct Avx2 {};        // with FMA and F16C
struct Avx512 {};      // F, BW, DQ, VL
struct Avx512Bf16 {};  // and vdpbf16ps

// In order: each can do what those before it can.
enum class InstructionSet : int { portable = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

inline constexpr const char* kInstructionSetNames[] = {"portable", "avx2", "avx512", "avx512_bf16"};

inline InstructionSet detected_instruction_set() {
#if defined(__x86_64__) || defined(_M_X64)
  // The builtin also asks the operating system whether it saves the wide registers.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::portable;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return InstructionSet::avx2;
  return __builtin_cpu_supports("avx512bf16") ? InstructionSet::avx512_bf16 : InstructionSet::avx512;
#else
  return InstructionSet::portable;
#endif
}

namespace detail {
inline std::atomic<int>& instruction_set_in_use() {
  static std::atomic<int> value{[] {
    const int best = static_cast<int>(detected_instruction_set());
    const char* wanted = std::getenv("GPTFACE_CPU_INSTRUCTION_SET");
    for (int i = 0; wanted && i <= best; ++i)
      if (std::strcmp(wanted, kInstructionSetNames[i]) == 0) return i;
    return best;
  }()};
  return value;
}
}  // namespace detail

// The one in use: the best of this machine, or a lower one named by GPTFACE_CPU_INSTRUCTION_SET (read once) or by
// use_instruction_set.
inline InstructionSet instruction_set() {
  return static_cast<InstructionSet>(detail::instruction_set_in_use().load(std::memory_order_relaxed));
}

// Take `name` from now on; false, and no change, where it is unknown or more than this machine has.
inline bool use_instruction_set(const char* name) {
  for (int i = 0; i <= static_cast<int>(detected_instruction_set()); ++i)
    if (std::strcmp(name, kInstructionSetNames[i]) == 0) {
      detail::instruction_set_in_use().store(i, std::memory_order_relaxed);
      return true;
    }
  return false;
}

}  // namespace gptface
