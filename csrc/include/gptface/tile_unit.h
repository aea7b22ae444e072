// Products of tiles: the tile unit of each instruction set under one set of names, and the blocks that it multiplies in.
//
// A unit is an object; while it lives a thread has eight registers, each a whole tile, and
//
//   zero<R>()   load<R>(tile)   store<R>(tile)   multiply_add<Sum, A, B>()
//
// are all it does, and load_rows and store_rows, for rows that lie apart. multiply_blocks is to tiles what multiply_rows of microkernel.h is to vectors: two by two tiles of the
// result take four registers and their operands the other four, so that a product costs one load. On the processors that
// have AMX a product takes the unit 16 cycles and a load from the first-level cache 8 (Intel's optimization manual), so
// that loads hide behind products; one by one they would take as long. Nothing here was ever timed.
//
// Operands are tiles side by side in memory, as tile_packing.h makes them: then a load is sixteen whole cache lines in
// order, whatever the strides of the tensors were.
#pragma once

#include <gptface/amx.h>
#include <gptface/simd.h>

namespace gptface {

template <class Isa>
class TileUnit;

// In plain C++, on any machine.
template <class Isa>
class PlainTileUnit {
 public:
  template <int R>
  GPTFACE_INLINE void zero() {
    registers_[R] = Tile{};
  }
  template <int R>
  GPTFACE_INLINE void load(const Tile& tile) {
    registers_[R] = tile;
  }
  template <int R>
  GPTFACE_INLINE void store(Tile& tile) {
    tile = registers_[R];
  }
  template <int R>
  GPTFACE_INLINE void load_rows(const void* first, int64_t stride) {
    for (int r = 0; r < kTileHeight; ++r)
      std::memcpy(registers_[R].words[r], static_cast<const char*>(first) + r * stride, sizeof(registers_[R].words[r]));
  }
  template <int R>
  GPTFACE_INLINE void store_rows(void* first, int64_t stride) {
    for (int r = 0; r < kTileHeight; ++r)
      std::memcpy(static_cast<char*>(first) + r * stride, registers_[R].words[r], sizeof(registers_[R].words[r]));
  }
  template <int Sum, int A, int B>
  GPTFACE_INLINE void multiply_add() {
    multiply(registers_[Sum], registers_[A], registers_[B]);
  }

 private:
  static __attribute__((noinline)) void multiply(Tile& sum, const Tile& a, const Tile& b) {
    multiply_tiles_by_definition(sum, a, b);
  }
  Tile registers_[8];
};

template <>
class TileUnit<EmulatedAmx> : public PlainTileUnit<EmulatedAmx> {};
template <>
class TileUnit<EmulatedAmxAvx512Bf16> : public PlainTileUnit<EmulatedAmxAvx512Bf16> {};
#if defined(GPTFACE_AMX)
template <>
class TileUnit<Amx> : public AmxUnit {};
#endif

// Tile (r, k) of an operand, or (r, c) of a result, is at first + r * row + k * step.
template <class T>
struct TileGrid {
  T* first;
  int64_t row, step;

  GPTFACE_INLINE T& at(int64_t r, int64_t k) const { return first[r * row + k * step]; }
};

// sums (MI by NJ tiles) = or += the sum over the bits k of `steps` of a(i, k) · b(j, k). At most two by two.
template <int MI, int NJ, bool First, class Unit>
GPTFACE_INLINE void multiply_block(
    Unit& unit, uint32_t steps, TileGrid<const Tile> a, TileGrid<const Tile> b, TileGrid<Tile> sums) {
  static_assert(MI <= 2 && NJ <= 2);
  if constexpr (First) {
    unit.template zero<0>();
    if constexpr (NJ == 2) unit.template zero<1>();
    if constexpr (MI == 2) unit.template zero<2>();
    if constexpr (MI == 2 && NJ == 2) unit.template zero<3>();
  } else {
    unit.template load<0>(sums.at(0, 0));
    if constexpr (NJ == 2) unit.template load<1>(sums.at(0, 1));
    if constexpr (MI == 2) unit.template load<2>(sums.at(1, 0));
    if constexpr (MI == 2 && NJ == 2) unit.template load<3>(sums.at(1, 1));
  }
  for (; steps != 0; steps &= steps - 1) {
    const int64_t k = __builtin_ctz(steps);
    unit.template load<4>(a.at(0, k));
    unit.template load<6>(b.at(0, k));
    unit.template multiply_add<0, 4, 6>();
    if constexpr (NJ == 2) {
      unit.template load<7>(b.at(1, k));
      unit.template multiply_add<1, 4, 7>();
    }
    if constexpr (MI == 2) {
      unit.template load<5>(a.at(1, k));
      unit.template multiply_add<2, 5, 6>();
      if constexpr (NJ == 2) unit.template multiply_add<3, 5, 7>();
    }
  }
  unit.template store<0>(sums.at(0, 0));
  if constexpr (NJ == 2) unit.template store<1>(sums.at(0, 1));
  if constexpr (MI == 2) unit.template store<2>(sums.at(1, 0));
  if constexpr (MI == 2 && NJ == 2) unit.template store<3>(sums.at(1, 1));
}

// The same for `rows` tiles of a and `columns` of b, one or two each; not inlined, so that the caller's registers are free.
template <class Isa, bool First>
__attribute__((noinline)) void multiply_pair(
    TileUnit<Isa>& unit, int rows, int columns, uint32_t steps, TileGrid<const Tile> a, TileGrid<const Tile> b,
    TileGrid<Tile> sums) {
  if (rows == 2 && columns == 2) return multiply_block<2, 2, First>(unit, steps, a, b, sums);
  if (rows == 2) return multiply_block<2, 1, First>(unit, steps, a, b, sums);
  if (columns == 2) return multiply_block<1, 2, First>(unit, steps, a, b, sums);
  multiply_block<1, 1, First>(unit, steps, a, b, sums);
}

// sums += a · b for any number of tiles in rows of a, with the same steps for all.
template <class Isa>
__attribute__((noinline)) void add_products(
    TileUnit<Isa>& unit, int rows, int columns, uint32_t steps, TileGrid<const Tile> a, TileGrid<const Tile> b,
    TileGrid<Tile> sums) {
  for (int j = 0; j < columns; j += 2)
    for (int i = 0; i < rows; i += 2)
      multiply_pair<Isa, false>(
          unit, rows - i < 2 ? 1 : 2, columns - j < 2 ? 1 : 2, steps, {&a.at(i, 0), a.row, a.step},
          {&b.at(j, 0), b.row, b.step}, {&sums.at(i, j), sums.row, sums.step});
}

}  // namespace gptface
