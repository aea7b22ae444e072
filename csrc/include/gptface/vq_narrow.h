// Scores of short vectors. A tile of theirs takes few products, and selecting from it uses the same execution ports. So
// the selection looks at the best of a span of panels at a time; codes that fit the first-level cache pass by together.
#pragma once

#include <gptface/vq_pack.h>

namespace gptface {

template <class Isa, class Word, class Lead>
struct VQNarrow {
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Pack = VQPack<Isa, Word>;
  static constexpr int kVectors = Pack::kVectors, kPanel = Pack::kPanel;
  static constexpr int kSpan = 4;  // panels
  static constexpr int kRows = 4;
  // A tile's sums, the best of a span for every row, a column of codes and a word of the row have to fit. Words of
  // bfloat16 leave more codes in question, and a span has four times as many of them.
  static constexpr bool kFits = Pack::kGroup == 1 && V::registers >= kRows * (kVectors + 1) + kVectors + 1;
  static constexpr int64_t kLongest = 16;      // words of a vector; for longer ones the selection is a small part
  static constexpr int64_t kNearWords = 4096;  // of the codes that pass by together: 16 KiB

  static GPTFACE_INLINE bool serves(const VQProblem& problem) { return kFits && Pack::depth(problem) <= kLongest; }

  // The leads of `rows` rows, a multiple of kRows, over all codes. Their panel is the first of a span.
  static GPTFACE_INLINE void stream(
      const VQProblem& problem, const VQPackedGroup& packed, int64_t rows, const Word* row_words, Lead* leads) {
    const int64_t panels = (problem.codes + kPanel - 1) / kPanel, panel_words = Pack::panel_words(problem);
    const int64_t near = kSpan * (kNearWords / (kSpan * panel_words)), together = near > kSpan ? near : kSpan;
    for (int64_t first = 0; first < panels; first += together) {
      const int64_t end = first + together < panels ? first + together : panels;
      for (int64_t m0 = 0; m0 < rows; m0 += kRows)
        for (int64_t span = first; span < end; span += kSpan)
          compare(problem, packed, span, span + kSpan < end ? span + kSpan : end, m0, row_words, leads + m0);
    }
  }

  static GPTFACE_INLINE void compare(
      const VQProblem& problem, const VQPackedGroup& packed, int64_t begin, int64_t end, int64_t m0,
      const Word* row_words, Lead* leads) {
    const int64_t stride = Pack::stride(problem), depth = Pack::depth(problem);
    const int64_t panel_words = Pack::panel_words(problem);
    const Word* words = reinterpret_cast<const Word*>(packed.words);
    Float top[kRows];
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) top[m] = V::set(-std::numeric_limits<float>::infinity());
    for (int64_t p = begin; p < end; ++p) {
      Float sums[kRows][kVectors];
      multiply_tile<Isa, Word, kRows, kVectors, Rows::by_rows>(
          depth, row_words + m0 * stride, stride, words + p * panel_words, kPanel, sums);
#pragma GCC unroll 3
      for (int n = 0; n < kVectors; ++n) {
        const Float offset = V::load(packed.bias + p * kPanel + n * V::width);
#pragma GCC unroll 4
        for (int m = 0; m < kRows; ++m) top[m] = V::maximum(V::add(sums[m][n], offset), top[m]);
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < kRows; ++m) {
      Lead& lead = leads[m];
      const Float best = V::load(lead.best);
      const auto better = V::greater(top[m], best);
      V::store(lead.rival, V::maximum(V::load(lead.rival), V::minimum(top[m], best)));
      V::store(lead.panel, V::select(better, V::set(static_cast<int32_t>(begin)), V::load(lead.panel)));
      V::store(lead.best, V::maximum(top[m], best));
    }
  }
};

}  // namespace gptface
