// What forward and backward of masked attention by tiles share: keys in steps of 32, and who has to do with which step.
#pragma once

#include <gptface/attention_tiles.h>
#include <gptface/tile_packing.h>
#include <gptface/tile_unit.h>

namespace gptface {

// Keys that a product over keys sums up at once: the depth of a tile. Scores of a step are two tiles down.
inline constexpr int64_t kStepKeys = kTileDepth;
inline constexpr int kStepBlocks = kStepKeys / kKeyBlock;

GPTFACE_INLINE constexpr int64_t steps_of(int64_t keys) { return (keys + kStepKeys - 1) / kStepKeys; }
GPTFACE_INLINE constexpr uint32_t lowest_bits(int64_t count) { return static_cast<uint32_t>((uint64_t{1} << count) - 1); }

// Whether vector n of a panel has to do with keys [from, to), and whether with all of them.
template <class Isa>
GPTFACE_INLINE bool reaches_keys(const PanelMask<Isa>& mask, int n, int64_t from, int64_t to) {
  return (mask.begin[0][n] < to && from < mask.end[0][n]) || (mask.begin[1][n] < to && from < mask.end[1][n]);
}

template <class Isa>
GPTFACE_INLINE bool covers_keys(const PanelMask<Isa>& mask, int n, int64_t from, int64_t to) {
  return (mask.begin[0][n] <= from && to <= mask.end[0][n]) || (mask.begin[1][n] <= from && to <= mask.end[1][n]);
}

// sums(r, n) += the sum over the bits k of steps[n] of a(r, k) · b(n, k): columns of tiles that each have steps of their
// own, two at a time over those that they share.
template <class Isa>
void add_products_by_column(
    TileUnit<Isa>& unit, int rows, int columns, const uint32_t* steps, TileGrid<const Tile> a, TileGrid<const Tile> b,
    TileGrid<Tile> sums) {
  const auto add = [&](int column, int count, uint32_t shared) {
    if (shared != 0)
      add_products<Isa>(unit, rows, count, shared, a, {&b.at(column, 0), b.row, b.step},
                        {&sums.at(0, column), sums.row, sums.step});
  };
  for (int n = 0; n < columns; n += 2) {
    const uint32_t one = steps[n], other = n + 1 < columns ? steps[n + 1] : 0;
    add(n, 2, one & other);
    add(n, 1, one & ~other);
    add(n + 1, 1, other & ~one);
  }
}

}  // namespace gptface
