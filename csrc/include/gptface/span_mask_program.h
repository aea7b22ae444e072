// A span-mask specification as integers: the C++ twin of gptface/ops/span_mask/program.py.
//
// Laws of lengths, aspects and weights arrive as fixed-point tables worked out once on the host, so that no kernel
// depends on a mathematical library. The structure is plain data of about two kilobytes: it travels to a GPU as a kernel argument.
#pragma once

#include <cstdint>
#include <cstring>

#include <gptface/philox.h>

namespace gptface {

constexpr int32_t kMaximumTable = 128;
constexpr int32_t kAspects = 32;
constexpr int32_t kMaximumRegions = 64;
constexpr int32_t kProgramHead = 22;

enum class RatioKind : int32_t { number = 0, range = 1, cosine = 2 };
enum class LawKind : int32_t { uniform = 0, table = 1 };
enum class ImageKind : int32_t { none = 0, random = 1, blocks = 2, regions = 3 };

struct Ratio {
  RatioKind kind;
  double number;      // RatioKind::number
  int64_t low, high;  // RatioKind::range, in units of 2^-30
};

struct TextProgram {
  bool present;
  Ratio ratio;
  int32_t minimum;    // units masked at least, where the sample has so many
  int32_t min_gap;
  bool whole_words;
  LawKind law;
  int32_t low, high;  // shortest and longest span
  int32_t table_size;
  uint64_t table[kMaximumTable];  // low + i for the first i with word < table[i]
};

struct ImageProgram {
  ImageKind kind;
  Ratio ratio;
  int32_t height, width;
  int32_t minimum, maximum;        // area of a block
  uint32_t aspects[kAspects];      // height / width, in units of 2^-16
  int32_t regions;                 // number of weights
  uint32_t weights[kMaximumRegions];
  uint64_t kept;                   // bit r: cells of region r are never masked
};

struct SpanMaskProgram {
  TextProgram text;
  ImageProgram image;

  // False where the words are not a program (of this version).
  bool parse(const int64_t* words, int64_t count) {
    std::memset(static_cast<void*>(this), 0, sizeof(*this));
    if (count < kProgramHead) return false;
    const int64_t table = words[19], aspects = words[20], weights = words[21];
    if (table < 0 || table > kMaximumTable || (aspects != 0 && aspects != kAspects) || weights < 0 ||
        weights > kMaximumRegions || count != kProgramHead + table + aspects + weights)
      return false;
    text.present = words[0] != 0;
    text.ratio = parse_ratio(words + 1);
    text.minimum = static_cast<int32_t>(words[4]);
    text.min_gap = static_cast<int32_t>(words[5]);
    text.whole_words = words[6] != 0;
    text.law = static_cast<LawKind>(words[7]);
    text.low = static_cast<int32_t>(words[8]);
    text.high = static_cast<int32_t>(words[9]);
    text.table_size = static_cast<int32_t>(table);
    image.kind = static_cast<ImageKind>(words[10]);
    image.ratio = parse_ratio(words + 11);
    image.height = static_cast<int32_t>(words[14]);
    image.width = static_cast<int32_t>(words[15]);
    image.minimum = static_cast<int32_t>(words[16]);
    image.maximum = static_cast<int32_t>(words[17]);
    image.kept = static_cast<uint64_t>(words[18]);
    image.regions = static_cast<int32_t>(weights);
    const int64_t* next = words + kProgramHead;
    for (int64_t i = 0; i < table; ++i) text.table[i] = static_cast<uint64_t>(*next++);
    for (int64_t i = 0; i < aspects; ++i) image.aspects[i] = static_cast<uint32_t>(*next++);
    for (int64_t i = 0; i < weights; ++i) image.weights[i] = static_cast<uint32_t>(*next++);
    const bool text_sound = !text.present || (text.low >= 1 && text.high >= text.low && text.minimum >= 0 &&
                                              text.min_gap >= 0 && (text.law == LawKind::uniform || table > 0));
    const bool blocks = image.kind == ImageKind::blocks || image.kind == ImageKind::regions;
    const bool image_sound =
        image.kind == ImageKind::none ||
        (image.height > 0 && image.width > 0 && (!blocks || (aspects > 0 && image.minimum > 0 && image.maximum > 0)));
    return text_sound && image_sound;
  }

  GPTFACE_HOST_DEVICE int32_t cells() const { return image.height * image.width; }

 private:
  static Ratio parse_ratio(const int64_t* words) {
    Ratio ratio{static_cast<RatioKind>(words[0]), 0.0, words[1], words[2]};
    std::memcpy(&ratio.number, words + 1, sizeof(double));
    return ratio;
  }
};

}  // namespace gptface
