// The kernels of masked attention by tiles as a table of functions, for bfloat16; see attention_problem.h.
#pragma once

#include <gptface/attention_amx_backward.h>
#include <gptface/attention_amx_forward.h>

namespace gptface {

template <class Isa>
constexpr AttentionKernels make_attention_amx_kernels() {
  using Forward = AttentionAmxForward<Isa>;
  using Backward = AttentionAmxBackward<Isa>;
  return {Simd<Isa>::width, Forward::kVectors, Backward::kKeyTile,
          Forward::scratch_bytes, Forward::task,
          Backward::Layout::scratch_bytes, Backward::task, add_shares<Isa, BFloat16Pair>};
}

}  // namespace gptface
