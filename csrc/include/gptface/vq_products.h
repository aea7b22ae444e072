// Products of a block of rows with a panel of codes, a few rows at a time: in registers by vectors, or by tiles.
#pragma once

#include <gptface/vq_pack.h>

namespace gptface {

// How the words of an instruction set are multiplied. State is what a thread needs for it; rows come in multiples of
// kRows, and memory holds a multiple of kTogether of them.
template <class Isa, class Word>
struct VQProducts {
  using Pack = VQPack<Isa, Word>;
  static constexpr int kRows = tile_rows<Isa>(Pack::kVectors);
  static constexpr int kTogether = kRows;
  struct State {};

  // compare(first row, sums) for every kRows rows, with their scores, without a bias, as Float[kRows][kVectors].
  template <class Compare>
  static GPTFACE_INLINE void multiply(
      State&, int64_t rows, int64_t depth, const Word* words, int64_t stride, const Word* panel, const Compare& compare) {
    multiply_rows<Isa, Word, Pack::kVectors, Rows::by_rows, kRows>(
        rows, depth, words, stride, panel, Pack::kPanel, compare);
  }
};

}  // namespace gptface
