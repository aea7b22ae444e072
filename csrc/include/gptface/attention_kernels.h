// The kernels of masked attention of one instruction set as a table of functions; see attention_problem.h.
#pragma once

#include <gptface/attention_backward.h>
#include <gptface/attention_forward.h>

namespace gptface {

// Word is what multiplies: float32 for every dtype, or bfloat16 pairs, for bfloat16 alone.
template <class Isa, class Word>
constexpr AttentionKernels make_attention_kernels() {
  using Forward = AttentionForward<Isa, Word>;
  using Backward = AttentionBackward<Isa, Word>;
  return {Simd<Isa>::width, Forward::kVectors, Backward::kKeyTile,
          Forward::scratch_bytes, Forward::task,
          Backward::Layout::scratch_bytes, Backward::task, add_shares<Isa, Word>};
}

}  // namespace gptface
