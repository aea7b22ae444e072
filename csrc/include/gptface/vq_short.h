// VQ lookup of short vectors as plain data: what a launcher hands to the CUDA kernels of csrc/cuda/vq.cu.
#pragma once

#include <cstdint>

#include <gptface/element_type.h>
#include <gptface/vq_problem.h>

namespace gptface {

inline constexpr int kVQShortWidth = 32;     // elements at most
inline constexpr int kVQShortNominated = 2;  // codes of a row that every share of the codebook nominates

// The best code of every row. `words`, `bias`, `centre` and `scale` rank the codes as gptface/ops/vq/centring.py says;
// `codebook` and x as they were given decide. Strides in elements.
struct VQShortProblem {
  ElementType type;  // of x
  const void* x;     // (groups, rows, width)
  int64_t group_stride, row_stride, column_stride;
  const float* codebook;  // (groups, codes, width), contiguous, as are all others
  const float* words;     // (groups, codes, width)
  const float* bias;      // (groups, codes)
  const float* centre;    // (groups, width)
  const float* scale;     // (groups)
  int64_t groups, rows, codes;
  int width;
  VQMetric metric;
  int shares;  // into which the codes are cut, so that few rows fill the device

  int32_t* nominated;  // (groups, rows, shares, kVQShortNominated): workspace
  float* scores;       // (groups, rows)
  int64_t* indices;    // (groups, rows)
  int64_t* counts;     // (groups, codes), zeros before
};

}  // namespace gptface
