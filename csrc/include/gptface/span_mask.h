// Span masks of one sample, written once for host and device.
//
// gptface/ops/span_mask/reference.py is the definition in plain Python; the draws here happen in the same order, so the
// results agree bit for bit. Sets of units (positions, words, cells of the grid) are bit sets: membership, counting and
// "the r-th unmasked cell" cost a few instructions each, and a sample costs O(S).
#pragma once

#include <cmath>
#include <cstdint>

#include <gptface/philox.h>
#include <gptface/span_mask_program.h>

namespace gptface {

// Codes of a layout; 0: never masked, and no cell of the grid.
constexpr uint8_t kText = 1, kImage = 2, kKeptCell = 3;

GPTFACE_HOST_DEVICE inline int32_t count_bits(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

GPTFACE_HOST_DEVICE inline int32_t lowest_bit(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

GPTFACE_HOST_DEVICE inline int32_t bit_words(int32_t size) { return (size + 63) / 64; }

GPTFACE_HOST_DEVICE inline bool has_bit(const uint64_t* set, int32_t i) { return set[i >> 6] >> (i & 63) & 1; }

GPTFACE_HOST_DEVICE inline void add_bit(uint64_t* set, int32_t i) { set[i >> 6] |= uint64_t{1} << (i & 63); }

GPTFACE_HOST_DEVICE inline void remove_bit(uint64_t* set, int32_t i) { set[i >> 6] &= ~(uint64_t{1} << (i & 63)); }

GPTFACE_HOST_DEVICE inline void clear_bits(uint64_t* set, int32_t size) {
  for (int32_t w = 0; w < bit_words(size); ++w) set[w] = 0;
}

// The numbers below `count` of those below `size`.
GPTFACE_HOST_DEVICE inline void first_bits(uint64_t* set, int32_t size, int32_t count) {
  for (int32_t w = 0; w < bit_words(size); ++w) {
    const int32_t here = count - w * 64;
    set[w] = here >= 64 ? ~uint64_t{0} : here > 0 ? (uint64_t{1} << here) - 1 : 0;
  }
}

// round(ratio * units), ties to even. One IEEE product and one rounding: nothing a compiler could contract.
GPTFACE_HOST_DEVICE inline int32_t masked_count(double ratio, int32_t units) {
  const int32_t count = static_cast<int32_t>(rint(ratio * static_cast<double>(units)));
  return count < units ? count : units;
}

// cos(pi u / 2) for u = word / 2^32, in units of 2^-30: Taylor's polynomial in fixed point, within 5e-9.
GPTFACE_HOST_DEVICE inline int64_t quarter_cosine(uint32_t word) {
  const int64_t square = static_cast<int64_t>(static_cast<uint64_t>(word) * word >> 32);
  int64_t value = -7;
  value = 506 + (value * square >> 32);
  value = -27060 + (value * square >> 32);
  value = 987048 + (value * square >> 32);
  value = -22401992 + (value * square >> 32);
  value = 272375560 + (value * square >> 32);
  value = -1324675879 + (value * square >> 32);
  value = 1073741824 + (value * square >> 32);
  return value < 0 ? 0 : value > (int64_t{1} << 30) ? int64_t{1} << 30 : value;
}

// The sample's budget; a random ratio costs one word.
GPTFACE_HOST_DEVICE inline int32_t draw_count(const Ratio& ratio, int32_t units, RandomStream& stream) {
  if (ratio.kind == RatioKind::number) return masked_count(ratio.number, units);
  const uint32_t word = stream.word();
  const int64_t fixed = ratio.kind == RatioKind::cosine
      ? quarter_cosine(word)
      : ratio.low + ((ratio.high - ratio.low) * static_cast<int64_t>(word) >> 32);
  return masked_count(static_cast<double>(fixed) * 0x1p-30, units);
}

GPTFACE_HOST_DEVICE inline int32_t draw_length(const TextProgram& text, RandomStream& stream) {
  if (text.law == LawKind::uniform)
    return text.low + static_cast<int32_t>(stream.below(static_cast<uint32_t>(text.high - text.low + 1)));
  const uint64_t word = stream.word();
  int32_t i = 0;
  while (i + 1 < text.table_size && word >= text.table[i]) ++i;
  return text.low + i;
}

// `count` of the numbers 0 … size - 1, every subset equally likely (Floyd's algorithm).
GPTFACE_HOST_DEVICE inline void random_subset(int32_t size, int32_t count, RandomStream& stream, uint64_t* chosen) {
  clear_bits(chosen, size);
  for (int32_t last = size - count; last < size; ++last) {
    const int32_t pick = static_cast<int32_t>(stream.below(static_cast<uint32_t>(last + 1)));
    add_bit(chosen, has_bit(chosen, pick) ? last : pick);
  }
}

// Spans on a ring of units: lengths up to the budget, a uniform composition of gaps, a uniform turn.
// `spans` (units) holds -1 everywhere and receives the number of the span over each masked unit, in the order of the ring;
// `bits`: bit_words(units). Returns how many spans there are and the unit at which the first begins.
struct SpansOnRing {
  int32_t count, start;
};

GPTFACE_HOST_DEVICE inline SpansOnRing text_spans(
    const TextProgram& text, int32_t units, RandomStream& stream, uint64_t* bits, int32_t* spans) {
  const int32_t drawn = draw_count(text.ratio, units, stream);
  const int32_t least = text.minimum < units ? text.minimum : units;
  const int32_t budget = drawn > least ? drawn : least;
  if (budget == 0) return {0, 0};
  // Lengths are drawn twice, here to count them and below to lay them out: a replayed stream needs no memory.
  RandomStream replay = stream;
  int32_t count = 0;
  for (int32_t left = budget; left > 0; ++count) left -= draw_length(text, stream);
  const int32_t unmasked = units - budget;
  const int32_t room = unmasked / count;
  const int32_t gap = text.min_gap < room ? text.min_gap : room;
  // A composition of `free` into `count` gaps is a choice of count - 1 bars among free + count - 1 places.
  const int32_t free = unmasked - count * gap;
  const int32_t places = free + count - 1;
  random_subset(places, count - 1, stream, bits);
  int32_t position = static_cast<int32_t>(stream.below(static_cast<uint32_t>(units)));
  const int32_t start = position;

  int32_t left = budget, bar = -1, word_index = 0;
  uint64_t word = places > 0 ? bits[0] : 0;
  for (int32_t span = 0; span < count; ++span) {
    int32_t length = draw_length(text, replay);
    length = length < left ? length : left;
    left -= length;
    for (int32_t i = 0; i < length; ++i) {
      spans[position] = span;
      if (++position == units) position = 0;
    }
    int32_t next_bar = places;
    if (span + 1 < count) {
      while (word == 0) word = bits[++word_index];
      next_bar = word_index * 64 + lowest_bit(word);
      word &= word - 1;
    }
    position += gap + next_bar - bar - 1;
    if (position >= units) position -= units;
    bar = next_bar;
  }
  return {count, start};
}

// Ring order becomes reading order where every unit is a position: what lies before the ring's start comes first, and a
// span that goes on at the beginning counts as two.
GPTFACE_HOST_DEVICE inline void renumber_in_reading_order(const SpansOnRing& ring, int32_t units, int32_t* spans) {
  int32_t first = 0;
  while (first < ring.start && spans[first] < 0) ++first;
  if (first == ring.start) return;  // nothing went over the end
  const int32_t earliest = spans[first];
  // One span all around: both its pieces touch, and are one.
  if (ring.count == 1 && spans[units - 1] == 0 && spans[ring.start - 1] == 0) return;
  for (int32_t p = first; p < ring.start; ++p) spans[p] -= spans[p] < 0 ? 0 : earliest;
  const int32_t later = ring.count - earliest;
  for (int32_t p = ring.start; p < units; ++p) spans[p] += spans[p] < 0 ? 0 : later;
}

// The r-th element of the set.
GPTFACE_HOST_DEVICE inline int32_t select_bit(const uint64_t* set, int32_t rank) {
  int32_t w = 0;
  uint64_t word = set[0];
  for (int32_t here = count_bits(word); rank >= here; here = count_bits(word)) {
    rank -= here;
    word = set[++w];
  }
  for (; rank > 0; --rank) word &= word - 1;
  return w * 64 + lowest_bit(word);
}

// A uniform subset of the eligible cells; the smaller of the masked and the unmasked part is drawn.
GPTFACE_HOST_DEVICE inline void image_random(
    const ImageProgram& image, int32_t eligible_count, RandomStream& stream, const uint64_t* eligible, uint64_t* bits,
    int32_t* spans) {
  const int32_t budget = draw_count(image.ratio, eligible_count, stream);
  const bool draw_masked = 2 * budget <= eligible_count;
  random_subset(eligible_count, draw_masked ? budget : eligible_count - budget, stream, bits);
  int32_t rank = 0, span = 0;
  for (int32_t cell = 0; cell < image.height * image.width; ++cell)
    if (has_bit(eligible, cell) && has_bit(bits, rank++) == draw_masked) spans[cell] = span++;
}

// Whole regions, drawn by weight among those that fit. Returns how many; `budget` and the set of cells that are open to
// masking shrink.
GPTFACE_HOST_DEVICE inline int32_t image_regions(
    const ImageProgram& image, const int32_t* regions, int32_t& budget, RandomStream& stream, uint64_t* open,
    int32_t* spans) {
  const int32_t cells = image.height * image.width;
  int32_t sizes[kMaximumRegions];
  for (int32_t r = 0; r < image.regions; ++r) sizes[r] = 0;
  for (int32_t cell = 0; cell < cells; ++cell)
    if (has_bit(open, cell) && regions[cell] >= 0 && regions[cell] < image.regions) ++sizes[regions[cell]];
  for (int32_t number = 0;; ++number) {
    uint32_t total = 0;
    for (int32_t r = 0; r < image.regions; ++r)
      if (sizes[r] > 0 && sizes[r] <= budget) total += image.weights[r];
    if (total == 0) return number;
    uint32_t draw = stream.below(total);
    int32_t region = 0;
    for (;; ++region) {
      if (sizes[region] == 0 || sizes[region] > budget) continue;
      if (draw < image.weights[region]) break;
      draw -= image.weights[region];
    }
    for (int32_t cell = 0; cell < cells; ++cell)
      if (regions[cell] == region && has_bit(open, cell)) {
        spans[cell] = number;
        remove_bit(open, cell);
      }
    budget -= sizes[region];
    sizes[region] = 0;
  }
}

GPTFACE_HOST_DEVICE inline uint32_t integer_square_root(uint64_t square) {
  // IEEE square roots are exact to the last bit, and below 2^53 at most one step away from the integer root.
  uint64_t root = static_cast<uint64_t>(sqrt(static_cast<double>(square)));
  while (root * root > square) --root;
  while ((root + 1) * (root + 1) <= square) ++root;
  return static_cast<uint32_t>(root);
}

// Masks the open cells from `begin` to `end`, at most `most` of them; returns how many.
GPTFACE_HOST_DEVICE inline int32_t mask_range(
    int32_t begin, int32_t end, int32_t most, int32_t number, uint64_t* open, int32_t* spans) {
  int32_t left = most;
  for (int32_t w = begin >> 6; w * 64 < end; ++w) {
    uint64_t inside = open[w];
    if (w * 64 < begin) inside &= ~uint64_t{0} << (begin & 63);
    if (end < w * 64 + 64) inside &= (uint64_t{1} << (end & 63)) - 1;
    uint64_t rest = inside;
    for (; rest != 0 && left > 0; rest &= rest - 1, --left) spans[w * 64 + lowest_bit(rest)] = number;
    open[w] ^= inside ^ rest;
  }
  return most - left;
}

// Rectangles on the torus, each over at least one open cell, numbered from `number` on, until the budget is spent.
// `open`: the eligible cells that are not masked, of which there are `count`.
GPTFACE_HOST_DEVICE inline void image_blocks(
    const ImageProgram& image, int32_t count, int32_t budget, int32_t number, RandomStream& stream, uint64_t* open,
    int32_t* spans) {
  const int32_t height = image.height, width = image.width;
  for (; budget > 0; ++number) {
    const int32_t smallest = image.minimum < budget ? image.minimum : budget;
    const int32_t largest = image.maximum < budget ? image.maximum : budget;
    const int32_t area = smallest + static_cast<int32_t>(stream.below(static_cast<uint32_t>(largest - smallest + 1)));
    const uint64_t aspect = image.aspects[stream.below(kAspects)];
    int32_t rows = static_cast<int32_t>((integer_square_root(area * aspect) + 128) >> 8);
    rows = rows < 1 ? 1 : rows < height ? rows : height;
    int32_t columns = (2 * area + rows) / (2 * rows);
    columns = columns < 1 ? 1 : columns < width ? columns : width;
    const int32_t anchor = select_bit(open, static_cast<int32_t>(stream.below(static_cast<uint32_t>(count))));
    int32_t row = anchor / width - static_cast<int32_t>(stream.below(static_cast<uint32_t>(rows)));
    int32_t left = anchor % width - static_cast<int32_t>(stream.below(static_cast<uint32_t>(columns)));
    if (row < 0) row += height;
    if (left < 0) left += width;
    const int32_t over = left + columns - width;  // cells that go on at the other side
    for (int32_t r = 0; r < rows && budget > 0; ++r) {
      const int32_t first = row * width;
      int32_t masked = mask_range(first + left, first + (over > 0 ? width : left + columns), budget, number, open, spans);
      if (over > 0) masked += mask_range(first, first + over, budget - masked, number, open, spans);
      budget -= masked;
      count -= masked;
      if (++row == height) row = 0;
    }
  }
}

// `spans` (cells) holds -1 everywhere. `open`: the eligible cells, which are used up; `bits`: a second set of that size.
GPTFACE_HOST_DEVICE inline void image_spans(
    const ImageProgram& image, const int32_t* regions, RandomStream& stream, uint64_t* open, uint64_t* bits,
    int32_t* spans) {
  const int32_t cells = image.height * image.width;
  if (image.kind == ImageKind::regions && image.kept != 0)
    for (int32_t cell = 0; cell < cells; ++cell)
      if (regions[cell] >= 0 && regions[cell] < 64 && image.kept >> regions[cell] & 1)
        remove_bit(open, cell);
  int32_t count = 0;
  for (int32_t w = 0; w < bit_words(cells); ++w) count += count_bits(open[w]);
  if (image.kind == ImageKind::random) {
    image_random(image, count, stream, open, bits, spans);
    return;
  }
  int32_t budget = draw_count(image.ratio, count, stream);
  int32_t number = 0;
  const int32_t before = budget;
  if (image.kind == ImageKind::regions)
    number = image_regions(image, regions, budget, stream, open, spans);
  image_blocks(image, count - (before - budget), budget, number, stream, open, spans);
}

// A batch of samples in raw pointers, as both launchers take it. Null where an input is absent.
struct SpanMaskBatch {
  SpanMaskProgram program;
  int64_t samples;
  int32_t positions;               // S
  const int64_t* lengths;          // (B)
  const uint8_t* codes;            // (B, S)
  const int64_t* word_ids;         // (B, S)
  const int32_t* regions;          // (B, cells)
  const int64_t* sample_ids;       // (B)
  uint64_t seed, step;
  const int64_t* device_step;      // read in place of `step`
  bool* mask;                      // (B, S)
  int64_t* indices;                // (capacity)
  int64_t capacity;
  int64_t* cu_masked;              // (B + 1)
  int32_t* span_ids;               // (B, S)

  GPTFACE_HOST_DEVICE int32_t workspace_units() const { return positions + program.cells(); }
  GPTFACE_HOST_DEVICE int32_t workspace_words() const {
    return 2 * bit_words(positions > program.cells() ? positions : program.cells());
  }
};

// One sample: fills its row of span_ids. `units` (workspace_units, all -1) and `bits` (workspace_words) are scratch; the row
// of span_ids holds -1 everywhere.
GPTFACE_HOST_DEVICE inline void sample_span_ids(
    const SpanMaskBatch& batch, int64_t sample, int32_t* units, uint64_t* bits) {
  const SpanMaskProgram& program = batch.program;
  const int32_t positions = batch.positions;
  const int64_t row = sample * positions;
  const uint8_t* codes = batch.codes ? batch.codes + row : nullptr;
  const bool image_only = !program.text.present;
  int32_t length = positions;
  if (batch.lengths) {
    const int64_t given = batch.lengths[sample];
    length = given < 0 ? 0 : given < positions ? static_cast<int32_t>(given) : positions;
  }
  const uint8_t inside = image_only ? kImage : kText, outside = image_only ? kKeptCell : 0;
  const SampleIdentity identity(
      batch.seed, batch.device_step ? static_cast<uint64_t>(*batch.device_step) : batch.step,
      static_cast<uint64_t>(batch.sample_ids[sample]));
  int32_t* span_ids = batch.span_ids + row;
  int32_t number = 0;

  if (program.text.present) {
    const int64_t* words = program.text.whole_words ? batch.word_ids + row : nullptr;
    const bool direct = !codes && !words;  // unit = position
    int32_t count = direct ? length : 0;
    if (!direct) {
      int64_t word = 0;
      for (int32_t p = 0; p < positions; ++p) {
        if ((codes ? codes[p] : p < length ? inside : outside) != kText) continue;
        if (!words || count == 0 || words[p] < 0 || words[p] != word) ++count;
        if (words) word = words[p];
      }
    }
    RandomStream stream(identity, Purpose::text);
    int32_t* spans = direct ? span_ids : units;
    const SpansOnRing ring = text_spans(program.text, count, stream, bits, spans);
    if (direct) renumber_in_reading_order(ring, count, spans);
    // The same where units are words, or positions here and there: a new number for each contiguous piece.
    int32_t before = -2, piece = -1, unit = -1;
    int64_t word = 0;
    for (int32_t p = 0; !direct && p < positions; ++p) {
      if ((codes ? codes[p] : p < length ? inside : outside) != kText) continue;
      if (!words || unit < 0 || words[p] < 0 || words[p] != word) ++unit;
      if (words) word = words[p];
      const int32_t span = spans[unit];
      if (span < 0) continue;
      if (p != before + 1 || span != piece) ++number;
      span_ids[p] = number - 1;
      before = p;
      piece = span;
    }
  }

  if (program.image.kind != ImageKind::none) {
    const int32_t cells = program.cells();
    uint64_t* eligible = bits;
    uint64_t* second = bits + batch.workspace_words() / 2;
    const bool direct = !codes && positions == cells;  // cell = position
    int32_t cell = 0;
    if (direct && image_only) {
      first_bits(eligible, cells, length);
    } else {
      clear_bits(eligible, cells);
      for (int32_t p = 0; p < positions && cell < cells; ++p) {
        const uint8_t code = codes ? codes[p] : p < length ? inside : outside;
        if (code == kImage) add_bit(eligible, cell);
        cell += code == kImage || code == kKeptCell;
      }
    }
    RandomStream stream(identity, Purpose::image);
    int32_t* spans = direct ? span_ids : units + positions;
    const int32_t* regions = batch.regions ? batch.regions + sample * cells : nullptr;
    image_spans(program.image, regions, stream, eligible, second, spans);
    cell = 0;
    for (int32_t p = 0; !direct && p < positions && cell < cells; ++p) {
      const uint8_t code = codes ? codes[p] : p < length ? inside : outside;
      if (code != kImage && code != kKeptCell) continue;
      if (spans[cell] >= 0) span_ids[p] = number + spans[cell];
      ++cell;
    }
  }
}

// A batch of tokens to corrupt, as both launchers take it. Where sampling is asked for in the same call, it fills the mask
// and the span ids first.
struct CorruptionBatch {
  static constexpr int32_t kMaximumRanges = 16;

  int64_t samples;
  int32_t positions;
  const bool* mask;            // (B, S)
  const int32_t* span_ids;     // (B, S)
  const int64_t* sample_ids;   // (B)
  uint64_t seed, step;
  const int64_t* device_step;
  int32_t ranges;
  int64_t low[kMaximumRanges], high[kMaximumRanges], mask_id[kMaximumRanges];
  uint64_t mask_threshold, random_threshold;  // in units of 2^-32
  bool per_span;
};

// The word that decides what becomes of the masked token at `position`: the same for a whole span, or its own.
GPTFACE_HOST_DEVICE inline uint32_t corruption_decision(
    const CorruptionBatch& batch, const SampleIdentity& identity, int32_t position, int32_t span) {
  uint32_t words[4];
  identity.block(Purpose::corruption, static_cast<uint32_t>(batch.per_span ? (span > 0 ? span : 0) : position), words);
  return words[0];
}

// What the masked token at `position` becomes.
GPTFACE_HOST_DEVICE inline int64_t corrupt_token(
    const CorruptionBatch& batch, const SampleIdentity& identity, uint32_t decision, int64_t token, int32_t position) {
  if (decision >= batch.random_threshold) return token;
  int32_t modality = 0;
  for (int32_t r = 1; r < batch.ranges; ++r) modality += token >= batch.low[r];
  if (decision < batch.mask_threshold) return batch.mask_id[modality];
  uint32_t words[4];
  identity.block(Purpose::replacement, static_cast<uint32_t>(position), words);
  const uint64_t size = static_cast<uint64_t>(batch.high[modality] - batch.low[modality]);
  // floor(64-bit word * size / 2^64) for size < 2^31
  return batch.low[modality] + static_cast<int64_t>((words[0] * size + (words[1] * size >> 32)) >> 32);
}

}  // namespace gptface
