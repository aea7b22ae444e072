// Operands for the tile unit: tiles from matrices of bfloat16 of any row stride; and results back into bfloat16.
//
// Four forms of a matrix, by what is summed over. A left operand has rows of the result down and depth across; a right
// one has pairs along the depth down and columns of the result across, and is the transpose, word by word, of a left one:
//
//   depth along the columns of the source: rows_tile (left), its transpose (right)
//   depth along the rows of the source:    pairs_tile (right), its transpose (left)
//
// The source's last dimension is contiguous, a multiple of eight. What a tile holds beyond it is zeros.
#pragma once

#include <gptface/packing.h>
#include <gptface/simd_emulated.h>
#include <gptface/tile.h>

namespace gptface {

template <class Isa>
struct TileRows {
  using V = Simd<Isa>;
  static_assert(V::width == kTileWords);

  // Element (r, c) of the source is in row r, up to 16 rows of up to 32 columns.
  static GPTFACE_INLINE void rows_tile(const BFloat16* source, int64_t stride, int64_t rows, int64_t columns, Tile& tile) {
    for (int64_t r = 0; r < rows; ++r, source += stride) {
      if (columns >= kTileDepth) {
        std::memcpy(tile.words[r], source, sizeof(tile.words[r]));
        continue;
      }
      std::memset(tile.words[r], 0, sizeof(tile.words[r]));
      for (int64_t c = 0; c < columns; c += 8) std::memcpy(tile.words[r] + c / 2, source + c, 16);
    }
    for (int64_t r = rows; r < kTileHeight; ++r) std::memset(tile.words[r], 0, sizeof(tile.words[r]));
  }

  // Elements (2 r, c) and (2 r + 1, c) are in word c of row r, up to 32 rows of up to 16 columns.
  static GPTFACE_INLINE void pairs_tile(const BFloat16* source, int64_t stride, int64_t rows, int64_t columns, Tile& tile) {
    columns = columns < kTileWords ? columns : kTileWords;
    for (int64_t r = 0; r < kTileHeight; ++r) {
      if (columns < kTileWords || 2 * r >= rows) std::memset(tile.words[r], 0, sizeof(tile.words[r]));
      if (2 * r >= rows) continue;
      const BFloat16* low = source + 2 * r * stride;
      interleave<Isa>(low, 2 * r + 1 < rows ? low + stride : nullptr, columns, reinterpret_cast<BFloat16Pair*>(tile.words[r]));
    }
  }

  static GPTFACE_INLINE void transpose(const Tile& from, Tile& to) {
#if defined(__AVX512F__)
    __m512i a[16];
    // Within four rows, words and then pairs of words change places.
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      const __m512i r0 = _mm512_load_si512(from.words[i]), r1 = _mm512_load_si512(from.words[i + 1]),
                    r2 = _mm512_load_si512(from.words[i + 2]), r3 = _mm512_load_si512(from.words[i + 3]);
      const __m512i low01 = _mm512_unpacklo_epi32(r0, r1), high01 = _mm512_unpackhi_epi32(r0, r1),
                    low23 = _mm512_unpacklo_epi32(r2, r3), high23 = _mm512_unpackhi_epi32(r2, r3);
      a[i] = _mm512_unpacklo_epi64(low01, low23);
      a[i + 1] = _mm512_unpackhi_epi64(low01, low23);
      a[i + 2] = _mm512_unpacklo_epi64(high01, high23);
      a[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    // a[4 g + c] holds columns c, c + 4, c + 8 and c + 12 of rows 4 g to 4 g + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m512i even_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88), odd_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xDD);
      const __m512i even_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88), odd_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xDD);
      _mm512_store_si512(to.words[c], _mm512_shuffle_i32x4(even_low, even_high, 0x88));
      _mm512_store_si512(to.words[c + 8], _mm512_shuffle_i32x4(even_low, even_high, 0xDD));
      _mm512_store_si512(to.words[c + 4], _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
      _mm512_store_si512(to.words[c + 12], _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD));
    }
#else
    Tile turned;
    for (int r = 0; r < kTileHeight; ++r)
      for (int w = 0; w < kTileWords; ++w) turned.words[w][r] = from.words[r][w];
    to = turned;
#endif
  }

  // Whole matrices: tile (r, k) at r * row + k * step.
  template <class Pack>
  static GPTFACE_INLINE void for_each(int64_t rows, int64_t down, int64_t columns, int64_t across, Pack&& pack) {
    for (int64_t r = 0; r < rows; r += down)
      for (int64_t c = 0; c < columns; c += across) pack(r, c);
  }

  static __attribute__((noinline)) void by_rows(
      const BFloat16* source, int64_t stride, int64_t rows, int64_t columns, Tile* tiles, int64_t row, bool transposed) {
    for_each(rows, kTileHeight, columns, kTileDepth, [&](int64_t r, int64_t c) {
      Tile& tile = tiles[r / kTileHeight * row + c / kTileDepth];
      rows_tile(source + r * stride + c, stride, rows - r < kTileHeight ? rows - r : kTileHeight, columns - c, tile);
      if (transposed) transpose(tile, tile);
    });
  }

  static __attribute__((noinline)) void by_pairs(
      const BFloat16* source, int64_t stride, int64_t rows, int64_t columns, Tile* tiles, int64_t row, bool transposed) {
    for_each(rows, kTileDepth, columns, kTileWords, [&](int64_t r, int64_t c) {
      Tile& tile = tiles[r / kTileDepth * row + c / kTileWords];
      pairs_tile(source + r * stride + c, stride, rows - r < kTileDepth ? rows - r : kTileDepth, columns - c, tile);
      if (transposed) transpose(tile, tile);
    });
  }

  // Zeros in place of row r of a matrix that by_pairs made, of `tiles` tiles across.
  static __attribute__((noinline, cold)) void clear_row(int64_t r, int64_t across, Tile* tiles, int64_t row, bool transposed) {
    const int64_t pair = r % kTileDepth / 2;
    const uint32_t other = r % 2 == 0 ? 0xFFFF0000u : 0x0000FFFFu;
    for (int64_t c = 0; c < across; ++c)
      for (int w = 0; w < kTileWords; ++w) {
        Tile& tile = tiles[r / kTileDepth * row + c];
        (transposed ? tile.words[w][pair] : tile.words[pair][w]) &= other;
      }
  }

  // Whether any number's bits, without its sign, are `least` or more; 0x7F80 is infinity.
  static __attribute__((noinline)) bool any_from(uint32_t least, const Tile* tiles, int64_t count) {
    const uint32_t lift = (0x8000u - least) * 0x10001u;  // to where it sets the top bit
    uint32_t found = 0;
    for (const Tile* tile = tiles; tile < tiles + count; ++tile) {
      uint32_t words[kTileWords] = {};
      for (int r = 0; r < kTileHeight; ++r)
        for (int w = 0; w < kTileWords; ++w) words[w] |= (tile->words[r][w] & 0x7FFF7FFFu) + lift;
      for (int w = 0; w < kTileWords; ++w) found |= words[w];
    }
    return (found & 0x80008000u) != 0;
  }

  // Numbers times the sign of a scale: -1, or 0, which a NaN or an infinity is not.
  static __attribute__((noinline, cold)) void multiply_by_sign(float scale, Tile* tiles, int64_t count) {
    for (Tile* tile = tiles; tile < tiles + count; ++tile)
      for (int r = 0; r < kTileHeight; ++r) {
        BFloat16 numbers[kTileDepth];
        std::memcpy(numbers, tile->words[r], sizeof(numbers));
        for (BFloat16& x : numbers) x = to_bfloat16<Isa>(to_float<Isa>(x) * (scale == 0.0f ? 0.0f : -1.0f));
        std::memcpy(tile->words[r], numbers, sizeof(numbers));
      }
  }

  // Rows that are not finite, out of a matrix that by_pairs made, and into `left_out`, a byte a row; whether any is. See
  // TensorRows::leave_out.
  static __attribute__((noinline)) bool leave_out(
      const BFloat16* source, int64_t stride, int64_t rows, int64_t columns, Tile* tiles, int64_t row, bool transposed,
      unsigned char* left_out) {
    if (!any_from(0x7F80, tiles, (rows + kTileDepth - 1) / kTileDepth * row)) return false;
    for (int64_t r = 0; r < rows; ++r)
      left_out[r] = leave_out_row(source + r * stride, r, columns, tiles, row, transposed);
    return true;
  }

  // The same for row r, whose elements are at `source`.
  static __attribute__((noinline)) bool leave_out_row(
      const BFloat16* source, int64_t r, int64_t columns, Tile* tiles, int64_t row, bool transposed) {
    if (all_finite<Isa>(source, 0, 1, columns)) return false;
    clear_row(r, (columns + kTileWords - 1) / kTileWords, tiles, row, transposed);
    return true;
  }

  // Sixteen float32 or fewer, times a factor, to `to`.
  static GPTFACE_INLINE void write(const uint32_t* row, float factor, int64_t columns, BFloat16* to) {
    float numbers[kTileWords];
    std::memcpy(numbers, row, sizeof(numbers));
    write_row<Isa>(numbers, factor, columns < kTileWords ? columns : kTileWords, to);
  }
};

}  // namespace gptface
