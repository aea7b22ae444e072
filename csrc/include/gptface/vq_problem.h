// VQ lookup as plain data: what a launcher hands to the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include <gptface/element_type.h>

namespace gptface {

enum class VQMetric { euclidean, cosine, dot };

inline constexpr int kVQMostCandidates = 16;

// For every row of x the `topk` best codes; see gptface/ops/vq/reference.py for the definition. Strides in elements.
struct VQProblem {
  ElementType type;  // of x
  const void* x;     // (groups, rows, width)
  int64_t group_stride, row_stride, column_stride;
  const float* codebook;  // (groups, codes, width), contiguous
  int64_t groups, rows, codes, width;
  VQMetric metric;
  int topk;  // 1 to the lesser of `codes` and kVQMostCandidates
  bool ranking_suffices;  // words of bfloat16 may decide what is nominated: for those who asked for bfloat16

  float* scores;          // (groups, rows, topk)
  int64_t* indices;       // (groups, rows, topk)
  int64_t* counts;        // (groups, codes)
  int64_t* nearest_rows;  // (groups, codes), or null where nobody asks
};

// The codes of one group, centred and laid out in panels for the micro-kernels. `s = a · words + bias` ranks the codes
// for a row: a is the row less the centre (its direction with the cosine metric, itself for the dot product).
struct VQPackedGroup {
  std::byte* words;     // (panels, padded depth, panel)
  float* bias;          // (panels * panel): −‖code‖² / 2 or 0; kVQUnusable; −infinity for padding
  const float* centre;  // (width)
  double largest_norm, largest_residual;  // of the usable centred codes, and of what rounding to words took from them
};

// Sums over the usable codes of a stretch of the codebook.
struct VQCodeSums {
  double* sum;  // (width), of the codes or, for the cosine metric, of their directions
  double squares;
  int64_t number;
};

// What is largest among the codes of a panel.
struct VQNorms {
  double norm, residual;
};

// The rows of a task: a stretch, or a list of them.
struct VQRows {
  int64_t first, number;
  const int32_t* list;  // null: first, first + 1, …
};

inline constexpr int64_t kVQMostBlockRows = 256;

// The bias of codes that hold a NaN or an infinity: behind every other, but a code still.
inline constexpr float kVQUnusable = -3.4028234663852886e38f;

// For every code the best row so far, as one worker saw it.
struct VQNearest {
  float* value;  // (panels * panel)
  int32_t* row;
};

// Kernels of one instruction set.
struct VQKernels {
  int64_t panel;                                      // codes in a panel
  int64_t (*panel_words)(const VQProblem&);           // 32-bit words of a panel
  int64_t (*block_rows)(const VQProblem&);            // rows a task at most, itself no more than kVQMostBlockRows
  void (*sum_codes)(const VQProblem&, int64_t group, int64_t begin, int64_t end, VQCodeSums&);  // adds to them
  int64_t (*pack_scratch)(const VQProblem&);          // bytes
  int64_t (*block_scratch)(const VQProblem&);         // bytes
  VQNorms (*pack_panel)(const VQProblem&, VQPackedGroup&, int64_t group, int64_t panel, std::byte* scratch);
  // Writes the results of the rows. With `open`, rows whose winner the words leave in doubt are listed there instead,
  // and their number is returned. VQNearest (or null) only for a stretch of rows.
  int64_t (*block)(
      const VQProblem&, const VQPackedGroup&, int64_t group, const VQRows&, VQNearest*, int32_t* open,
      std::byte* scratch);
};

}  // namespace gptface
