// How kernels lay out the scratch that a thread has.
#pragma once

#include <cstddef>

#include <gptface/simd.h>

namespace gptface {

template <int64_t Multiple>
constexpr int64_t round_up(int64_t n) {
  return (n + Multiple - 1) / Multiple * Multiple;
}

// Hands out pieces of a thread's scratch, each on a cache line of its own. With a null base it only counts.
struct ScratchCursor {
  std::byte* base;
  int64_t used = 0;

  template <class T>
  GPTFACE_INLINE T* take(int64_t count) {
    T* piece = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += round_up<64>(count * static_cast<int64_t>(sizeof(T)));
    return piece;
  }
};

}  // namespace gptface
