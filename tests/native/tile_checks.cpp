// Checks of csrc/include/gptface's tiles without torch, for the instruction set named by -DCHECKED_ISA: products, operands,
// and weights straight to bfloat16. Compiled and run by tests/ops/test_microkernels.py; prints what is wrong and returns
// the number of failures.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include <gptface/attention_amx_steps.h>
#include <gptface/tile_packing.h>
#include <gptface/tile_unit.h>

using namespace gptface;
using Isa = CHECKED_ISA;
using V = Simd<Isa>;
using Pack = TileRows<Isa>;

int failures = 0;
std::mt19937 generator(1);

void expect(bool good, const char* what, double value = 0.0) {
  if (good) return;
  ++failures;
  std::printf("%s: %g\n", what, value);
}

float element(const Tile& tile, int row, int column) {
  const uint32_t word = tile.words[row][column / 2];
  return to_float<Isa>(BFloat16{static_cast<uint16_t>(column % 2 ? word >> 16 : word)});
}

float number(const Tile& tile, int row, int column) {
  float value;
  std::memcpy(&value, &tile.words[row][column], sizeof(value));
  return value;
}

std::vector<BFloat16> draw(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<BFloat16> numbers(count);
  for (BFloat16& x : numbers) x = to_bfloat16<Isa>(normal(generator));
  return numbers;
}

// A matrix of `rows` by `columns` in rows of `stride`, in the four forms.
void check_operands(int64_t rows, int64_t columns) {
  const int64_t stride = columns + 24, depth = (columns + 31) / 32, across = (columns + 15) / 16;
  const std::vector<BFloat16> source = draw(rows * stride);
  const auto at = [&](int64_t r, int64_t c) { return r < rows && c < columns ? to_float<Isa>(source[r * stride + c]) : 0.0f; };
  const int64_t row_tiles = (rows + 15) / 16, pair_tiles = (rows + 31) / 32;
  for (const bool transposed : {false, true}) {
    std::vector<Tile> by_rows(row_tiles * depth), by_pairs(pair_tiles * across);
    std::memset(by_rows.data(), 0xFF, by_rows.size() * sizeof(Tile));
    std::memset(by_pairs.data(), 0xFF, by_pairs.size() * sizeof(Tile));
    Pack::by_rows(source.data(), stride, rows, columns, by_rows.data(), depth, transposed);
    Pack::by_pairs(source.data(), stride, rows, columns, by_pairs.data(), across, transposed);
    for (int64_t r = 0; r < row_tiles * 16; ++r)
      for (int64_t c = 0; c < depth * 32; ++c) {
        const Tile& tile = by_rows[r / 16 * depth + c / 32];
        const int i = r % 16, k = c % 32;
        expect((transposed ? element(tile, k / 2, 2 * i + k % 2) : element(tile, i, k)) == at(r, c), "by rows", columns);
      }
    const int64_t cleared = rows / 2;
    for (int64_t r = 0; r < pair_tiles * 32; ++r)
      for (int64_t c = 0; c < across * 16; ++c) {
        const Tile& tile = by_pairs[r / 32 * across + c / 16];
        const int k = r % 32, n = c % 16;
        expect((transposed ? element(tile, n, k) : element(tile, k / 2, 2 * n + k % 2)) == at(r, c), "by pairs", columns);
      }
    Pack::clear_row(cleared, across, by_pairs.data(), across, transposed);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        const Tile& tile = by_pairs[r / 32 * across + c / 16];
        const int k = r % 32, n = c % 16;
        const float got = transposed ? element(tile, n, k) : element(tile, k / 2, 2 * n + k % 2);
        expect(got == (r == cleared ? 0.0f : at(r, c)), "cleared row", r);
      }
  }
}

void check_any_from() {
  Tile tiles[2] = {};
  for (const uint32_t least : {0x7F80u, 0x5D00u})
    for (int place : {0, 31, 500, 511, 1023}) {
      BFloat16* number = reinterpret_cast<BFloat16*>(tiles) + place;
      for (const uint32_t sign : {0u, 0x8000u}) {
        const auto with = [&](uint32_t bits) {
          const BFloat16 x{static_cast<uint16_t>(bits | sign)};
          std::memcpy(number, &x, sizeof(x));
          return Pack::any_from(least, tiles, 2);
        };
        expect(with(least) && with(0x7FFF), "any_from: missed", place);
        expect(!with(least - 1) && !with(0), "any_from: found nothing", place);
      }
    }
}

// rows by columns tiles over some of `depth` steps, onto what is there.
void check_products(int rows, int columns, uint32_t steps) {
  constexpr int64_t depth = 5;
  const auto fill = [](std::vector<Tile>& tiles) {
    const std::vector<BFloat16> numbers = draw(tiles.size() * 512);
    std::memcpy(tiles.data(), numbers.data(), tiles.size() * sizeof(Tile));
  };
  std::vector<Tile> a(rows * depth), b(columns * depth), sums(rows * columns), before;
  fill(a), fill(b);
  for (Tile& tile : sums)
    for (auto& row : tile.words)
      for (uint32_t& word : row) {
        const float value = static_cast<float>(generator() % 1000) / 100;
        std::memcpy(&word, &value, sizeof(value));
      }
  before = sums;
  TileUnit<Isa> unit;
  add_products<Isa>(unit, rows, columns, steps, {a.data(), depth, 1}, {b.data(), depth, 1}, {sums.data(), columns, 1});
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
          double want = number(before[i * columns + j], m, n), size = std::fabs(want);
          for (int64_t k = 0; k < depth; ++k)
            for (int d = 0; d < 32; ++d) {
              if (!(steps >> k & 1)) continue;
              const double product = static_cast<double>(element(a[i * depth + k], m, d)) *
                  element(b[j * depth + k], d / 2, 2 * n + d % 2);
              want += product;
              size += std::fabs(product);
            }
          const double error = std::fabs(number(sums[i * columns + j], m, n) - want);
          expect(error <= 3e-6 * size, "product", error / size);
        }
}

// Columns with steps of their own are the sums of each alone.
void check_products_by_column() {
  constexpr int rows = 3, columns = 5;
  constexpr int64_t depth = 4;
  const uint32_t steps[columns] = {0b1011, 0b0110, 0b0000, 0b1111, 0b0100};
  std::vector<Tile> a(rows * depth), b(columns * depth), sums(rows * columns), each(rows * columns);
  for (std::vector<Tile>* tiles : {&a, &b}) {
    const std::vector<BFloat16> numbers = draw(tiles->size() * 512);
    std::memcpy(tiles->data(), numbers.data(), tiles->size() * sizeof(Tile));
  }
  std::memset(sums.data(), 0, sums.size() * sizeof(Tile));
  std::memset(each.data(), 0, each.size() * sizeof(Tile));
  TileUnit<Isa> unit;
  add_products_by_column<Isa>(unit, rows, columns, steps, {a.data(), depth, 1}, {b.data(), depth, 1}, {sums.data(), columns, 1});
  for (int j = 0; j < columns; ++j)
    add_products<Isa>(unit, rows, 1, steps[j], {a.data(), depth, 1}, {b.data() + j * depth, depth, 1}, {each.data() + j, columns, 1});
  for (int t = 0; t < rows * columns; ++t)
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n)
        expect(std::fabs(number(sums[t], m, n) - number(each[t], m, n)) <= 1e-4, "product by column", t);
}

void check_definition() {
  // 2^24 + 1 - 2^24 shows that the members of pairs are added up apart, and 2^-130 that subnormal numbers are none.
  Tile a{}, b{}, sum{};
  const auto set = [](Tile& tile, int row, int column, float value) {
    const uint32_t bits = to_bfloat16<Isa>(value).bits;
    tile.words[row][column / 2] |= column % 2 ? bits << 16 : bits;
  };
  for (int d = 0; d < 4; ++d) set(b, d / 2, d % 2, 1.0f);
  set(a, 0, 0, 0x1p24f), set(a, 0, 1, 1.0f), set(a, 0, 2, -0x1p24f);
  set(a, 1, 0, 0x1p-130f);
  set(a, 2, 0, 0x1p-100f);
  for (int d = 0; d < 2; ++d) set(b, d / 2, 2 * 3 + d % 2, 0x1p-60f);
  TileUnit<Isa> unit;
  unit.template load<2>(sum);
  unit.template load<3>(a);
  unit.template load<5>(b);
  unit.template multiply_add<2, 3, 5>();
  unit.template store<2>(sum);
  expect(number(sum, 0, 0) == 1.0f, "order of sums", number(sum, 0, 0));
  expect(number(sum, 1, 0) == 0.0f, "a subnormal operand", number(sum, 1, 0));
  expect(number(sum, 2, 3) == 0.0f, "a subnormal product", number(sum, 2, 3));
  expect(number(sum, 2, 0) == 0x1p-100f, "a small product", number(sum, 2, 0));
}

void check_power_pairs() {
  double worst = 0.0, bias = 0.0;
  int64_t count = 0;
  BFloat16Pair pairs[V::width];
  float low[V::width], high[V::width], sums[V::width];
  for (double start = 0.0; start < 135.0; start += 0.1) {
    for (int i = 0; i < V::width; ++i) {
      low[i] = static_cast<float>(128.0 * (start + i * 0.00613));
      high[i] = static_cast<float>(128.0 * (start + i * 0.00613 + 0.05));
    }
    const typename V::Pairs powers = V::power_pairs(V::load(low), V::load(high));
    V::store(pairs, powers);
    V::store(sums, V::add_pairs(V::set(0.0f), powers));
    for (int i = 0; i < V::width; ++i) {
      double sum = 0.0;
      for (const bool second : {false, true}) {
        const double want = std::exp2(static_cast<double>(second ? high[i] : low[i]) / 128 - 127);
        double got = to_float<Isa>(second ? pairs[i].high : pairs[i].low);
        if (got < 0x1p-126) got = 0.0;
        sum += got;
        if (want < 0x1.01p-126) {
          expect(got <= 0x1.02p-126, "a weight too small for bfloat16", got);
          continue;
        }
        worst = std::fmax(worst, std::fabs(got / want - 1.0));
        bias += got / want - 1.0, ++count;
      }
      expect(std::fabs(sums[i] - sum) <= 1e-7 * sum, "add_pairs", sums[i] - sum);
    }
  }
  expect(worst < 0.0067, "power_pairs: relative error", worst);
  expect(std::fabs(bias / count) < 2e-4, "power_pairs: mean error", bias / count);
  const float infinity = __builtin_inff();
  for (const float x : {-infinity, -1e30f, -0.25f, 0.0f}) {
    V::store(pairs, V::power_pairs(V::set(x), V::set(127.0f * 128.0f)));
    expect(pairs[3].low.bits == 0 && pairs[3].high.bits == 0x3F80, "power_pairs of nothing and of one", x);
  }
  const typename V::Pairs ones = V::power_pairs(V::set(16256.0f), V::set(16256.0f));
  V::store(pairs, V::without(ones, V::greater(V::set(1.0f), V::set(0.0f)), V::greater(V::set(0.0f), V::set(1.0f))));
  expect(pairs[5].low.bits == 0 && pairs[5].high.bits == 0x3F80, "without the first");
  V::store(pairs, V::without(ones, V::greater(V::set(0.0f), V::set(1.0f)), V::greater(V::set(1.0f), V::set(0.0f))));
  expect(pairs[5].low.bits == 0x3F80 && pairs[5].high.bits == 0, "without the second");
}

void check_signs() {
  for (const float scale : {-2.0f, 0.0f}) {
    Tile tile{};
    BFloat16* numbers = reinterpret_cast<BFloat16*>(&tile);
    numbers[0] = to_bfloat16<Isa>(1.5f), numbers[1] = to_bfloat16<Isa>(-3.0f), numbers[511] = to_bfloat16<Isa>(__builtin_nanf(""));
    Pack::multiply_by_sign(scale, &tile, 1);
    expect(element(tile, 0, 0) == (scale < 0 ? -1.5f : 0.0f), "sign of a number", scale);
    expect(element(tile, 0, 1) == (scale < 0 ? 3.0f : 0.0f), "sign of a negative number", scale);
    expect(std::isnan(element(tile, 15, 31)), "sign of a NaN", scale);
  }
}

int main() {
  for (const int64_t rows : {1, 2, 15, 16, 17, 31, 32, 33, 70})
    for (const int64_t columns : {8, 16, 24, 32, 40, 72}) check_operands(rows, columns);
  check_any_from();
  for (const int rows : {1, 2, 3})
    for (const int columns : {1, 2, 5})
      for (const uint32_t steps : {0b1u, 0b10110u, 0b11111u}) check_products(rows, columns, steps);
  check_products_by_column();
  check_definition();
  check_power_pairs();
  check_signs();
  return failures;
}
