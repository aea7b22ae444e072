// Which CPU kernels run: the instruction sets there are, and the best one that this machine has.
//
// Kernels are templates over a tag below. A translation unit named for an instruction set is compiled with its flags
// and instantiates the template for its tag; nothing else may be instantiated there, or the linker could keep a copy
// of a shared inline function that older machines cannot run.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include <gptface/amx.h>

namespace gptface {

struct Portable {};    // GNU vector extensions, four lanes: any architecture
struct Avx2 {};        // with FMA and F16C
struct Avx512 {};      // F, BW, DQ, VL
struct Avx512Bf16 {};  // and vdpbf16ps
struct Amx {};         // and tiles of bfloat16, with VBMI
// Kernels for tiles on machines without them, for tests: plain C++ in place of the tile unit, with vectors of plain C++,
// or with those of the set that AMX comes with.
struct EmulatedAmx {};
struct EmulatedAmxAvx512Bf16 {};

// In order: each can do what those before it can.
enum class InstructionSet : int { portable = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx = 4 };

// Whose tiles multiply, where a kernel for tiles runs.
enum class TileSet { none, amx, emulated, emulated_avx512_bf16 };

// Those of InstructionSet, and then what stands in for the last.
inline constexpr const char* kInstructionSetNames[] = {
    "portable", "avx2", "avx512", "avx512_bf16", "amx", "emulated_amx", "emulated_amx_avx512_bf16"};

namespace detail {
inline constexpr int kEmulated = 5, kEmulatedAvx512Bf16 = 6, kInstructionSetCount = 7;

inline InstructionSet best_instruction_set() {
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
}  // namespace detail

// The best of this machine, but for AMX: its kernels have never run on one, and what is not proven on a machine is not
// taken by itself, only where it is named.
inline InstructionSet detected_instruction_set() {
  static const InstructionSet best = detail::best_instruction_set();
  return best;
}

namespace detail {
inline bool has_vbmi() {
#if defined(__x86_64__) || defined(_M_X64)
  return __builtin_cpu_supports("avx512vbmi");
#else
  return false;
#endif
}

// The place of `name` among kInstructionSetNames, or -1 where it is unknown or this machine has no such thing.
inline int usable_instruction_set(const char* name) {
  const InstructionSet best = detected_instruction_set();
  for (int i = 0; i < kInstructionSetCount; ++i) {
    if (std::strcmp(name, kInstructionSetNames[i]) != 0) continue;
    const bool usable = i == kEmulated || i <= static_cast<int>(best) ||
        (i == static_cast<int>(InstructionSet::amx) && best >= InstructionSet::avx512_bf16 && amx_missing() == nullptr) ||
        (i == kEmulatedAvx512Bf16 && best >= InstructionSet::avx512_bf16 && has_vbmi());
    return usable ? i : -1;
  }
  return -1;
}

inline std::atomic<int>& instruction_set_in_use() {
  static std::atomic<int> value{[] {
    const char* wanted = std::getenv("GPTFACE_CPU_INSTRUCTION_SET");
    const int named = wanted ? usable_instruction_set(wanted) : -1;
    return named >= 0 ? named : static_cast<int>(detected_instruction_set());
  }()};
  return value;
}
}  // namespace detail

// The one in use: the best of this machine without AMX, or another one named by GPTFACE_CPU_INSTRUCTION_SET (read once) or by
// use_instruction_set. Beside emulated tiles it is the best without tiles.
inline InstructionSet instruction_set() {
  const int set = detail::instruction_set_in_use().load(std::memory_order_relaxed);
  if (set <= static_cast<int>(InstructionSet::amx)) return static_cast<InstructionSet>(set);
  return std::min(detected_instruction_set(), InstructionSet::avx512_bf16);
}

// What tells all of kInstructionSetNames apart: operands made under one are not for another.
inline int instruction_set_number() { return detail::instruction_set_in_use().load(std::memory_order_relaxed); }

inline const char* instruction_set_name() {
  return kInstructionSetNames[detail::instruction_set_in_use().load(std::memory_order_relaxed)];
}

inline TileSet tile_set() {
  switch (detail::instruction_set_in_use().load(std::memory_order_relaxed)) {
    case static_cast<int>(InstructionSet::amx): return TileSet::amx;
    case detail::kEmulated: return TileSet::emulated;
    case detail::kEmulatedAvx512Bf16: return TileSet::emulated_avx512_bf16;
    default: return TileSet::none;
  }
}

// Take `name` from now on; false, and no change, where it is unknown or more than this machine has.
inline bool use_instruction_set(const char* name) {
  const int set = detail::usable_instruction_set(name);
  if (set >= 0) detail::instruction_set_in_use().store(set, std::memory_order_relaxed);
  return set >= 0;
}

}  // namespace gptface
