// Lookup of one block of rows: tiles of scores that never leave the registers, then a decision in float64.
//
// The pass over the tiles ranks codes by words of float32 or bfloat16. Every element of a tile is summed in the same
// order wherever it lies, so equal codes get equal scores. Let B bound what rounding can do to a score. The best code
// in truth has a tile score of at least (largest tile score) − 2 B, so where all codes that reach this bar are at hand,
// the best of them by float64 scores from the original values is the best of all. Rows that have more codes above the
// bar than are at hand take a second pass, in which every code that reaches it is scored in float64, or are left open
// for kernels with finer words. So the indices are those of float64, whatever the data and the words.
//
// B, with a the row and c a code as they are moved (each element rounded once to float32), a' and c' their words,
// M and R the largest ‖c‖ and ‖c − c'‖:
//   a·c − a'·c' = (a − a')·c + a'·(c − c'), so words cost ‖a − a'‖ M + ‖a'‖ R (Cauchy–Schwarz), with the norms that
//   rounding had in fact (zero for float32 words), a third of the worst that bfloat16 could do;
//   the sum of D products is off by (D + 2) u ‖a'‖ ‖c'‖ and the bias with its addition by 2 u M², u = 2^-24, and the
//   moves by two more; the order and rounding inside a bfloat16 dot product are the processor's own: u is doubled;
//   what lies below 2^-126 may be flushed: D · 2^-126 (products), and that times ‖a'‖ + ‖c'‖ (bfloat16 factors).
#pragma once

#include <gptface/scratch_cursor.h>
#include <gptface/vq_narrow.h>
#include <gptface/vq_products.h>

namespace gptface {

template <class Isa, class Word>
struct VQBlock {
  using V = Simd<Isa>;
  using Float = typename V::Float;
  using Int = typename V::Int;
  using Pack = VQPack<Isa, Word>;
  using Row = typename Pack::Row;
  static constexpr int kVectors = Pack::kVectors, kPanel = Pack::kPanel;
  using Products = VQProducts<Isa, Word>;
  using State = typename Products::State;
  static constexpr int kRows = Products::kRows;
  static constexpr bool kFine = Pack::kGroup == 1;  // float32 words
  static constexpr int kSpare = kFine ? 2 : 8;      // candidates beyond those wanted: they show the lead
  static constexpr int kMostKept = kVQMostCandidates + kSpare;
  using Kept = VQCandidates<Isa, float, kMostKept>;
  using Decided = VQCandidates<Isa, double, kVQMostCandidates>;

  // Of one row while codes stream by. A lane sees the codes of one column of every panel; the best group of kVectors
  // codes (one panel, or the first panel of a span of them) is kept, and the best score of all other groups.
  struct Lead {
    float best[V::width], rival[V::width];
    int32_t panel[V::width];
  };
  using Narrow = VQNarrow<Isa, Word, Lead>;

  struct Scratch {
    Word* words;           // (block, stride)
    Row* rows;             // (block)
    Lead* leads;           // (block) where one candidate is wanted
    Kept* kept;            // (block) elsewhere
    float *given, *moved;  // (width)
    Word* again_words;     // (kRows, stride)
    float* again_given;    // (kRows, width)
  };

  static GPTFACE_INLINE bool one_best(const VQProblem& problem) { return problem.topk == 1; }
  static GPTFACE_INLINE bool mere_ranking(const VQProblem& problem) { return !kFine && problem.ranking_suffices; }

  static int64_t block_rows(const VQProblem& problem) {
    // Words of a block stay in the second-level cache beside a panel; a panel is read once for all rows of a block.
    const int64_t fitting = 32768 / Pack::stride(problem);
    return Pack::multiple(fitting < 64 ? 64 : fitting > 128 ? 128 : fitting, kRows);
  }

  static int64_t block_scratch(const VQProblem& problem) {
    ScratchCursor cursor{nullptr};
    lay_out(problem, cursor);
    return cursor.used;
  }

  static GPTFACE_INLINE Scratch lay_out(const VQProblem& problem, ScratchCursor& cursor) {
    const int64_t block = block_rows(problem), stride = Pack::stride(problem);
    const bool lead = one_best(problem);
    Scratch scratch;
    scratch.words = cursor.take<Word>(Pack::multiple(block, Products::kTogether) * stride);
    scratch.rows = cursor.take<Row>(block);
    scratch.leads = cursor.take<Lead>(lead ? block : 0);
    scratch.kept = cursor.take<Kept>(lead ? 0 : block);
    scratch.given = cursor.take<float>(problem.width);
    scratch.moved = cursor.take<float>(problem.width);
    scratch.again_words = cursor.take<Word>(Products::kTogether * stride);
    scratch.again_given = cursor.take<float>(kRows * problem.width);
    return scratch;
  }

  // 2 B for this row; infinite where a sum might overflow; zero where a mere ranking was asked for.
  static GPTFACE_INLINE double doubt(const VQProblem& problem, const VQPackedGroup& packed, const Row& row) {
    if (mere_ranking(problem)) return 0.0;
    const double largest = packed.largest_norm, row_words = row.norm + row.residual;
    const double code_words = largest + packed.largest_residual, product = row_words * code_words;
    const double bias = problem.metric == VQMetric::euclidean ? largest * largest : 0.0;
    if (!(product + bias < 1e38)) return std::numeric_limits<double>::infinity();
    const double width = static_cast<double>(problem.width), unit = kFine ? 0x1p-24 : 0x1p-23;
    const double words = row.residual * largest + row_words * packed.largest_residual;
    const double flushed = width * 0x1p-126 * (kFine ? 1.0 : 1.0 + row_words + code_words);
    return 2.02 * (words + unit * ((width + 6.0) * product + 2.0 * bias) + flushed);
  }

  // Adds the bias, and shows the finished tile to the codes that want to know their nearest row.
  template <bool Nearest, int MR>
  static GPTFACE_INLINE void finish(
      Float (&sums)[MR][kVectors], const float* bias, const VQNearest* nearest, int64_t code, int64_t row,
      const Row* rows) {
#pragma GCC unroll 3
    for (int n = 0; n < kVectors; ++n) {
      const Float offset = V::load(bias + n * V::width);
#pragma GCC unroll 8
      for (int m = 0; m < MR; ++m) sums[m][n] = V::add(sums[m][n], offset);
      if constexpr (Nearest) {
        float* value = nearest->value + code + n * V::width;
        int32_t* index = nearest->row + code + n * V::width;
        Float best = V::load(value);
        Int best_row = V::load(index);
#pragma GCC unroll 8
        for (int m = 0; m < MR; ++m) {
          const Float score = V::add(sums[m][n], V::set(rows[m].outside));
          const auto better = V::greater(score, best);
          best_row = V::select(better, V::set(static_cast<int32_t>(row + m)), best_row);
          best = V::maximum(score, best);
        }
        V::store(value, best);
        V::store(index, best_row);
      }
    }
  }

  template <bool Nearest>
  static GPTFACE_INLINE void stream_leads(
      State& state, const VQProblem& problem, const VQPackedGroup& packed, int64_t first, int64_t padded_rows,
      const VQNearest* nearest, const Scratch& scratch) {
    const int64_t stride = Pack::stride(problem), depth = Pack::depth(problem);
    const int64_t panels = (problem.codes + kPanel - 1) / kPanel, panel_words = Pack::panel_words(problem);
    const Word* words = reinterpret_cast<const Word*>(packed.words);
    for (int64_t p = 0; p < panels; ++p) {
      const auto compare = [&](int64_t m0, auto& sums) {
        finish<Nearest>(sums, packed.bias + p * kPanel, nearest, p * kPanel, first + m0, scratch.rows + m0);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          Lead& lead = scratch.leads[m0 + m];
          const Float top = V::maximum(V::maximum(sums[m][0], sums[m][1]), sums[m][2]);
          const Float best = V::load(lead.best);
          const auto better = V::greater(top, best);
          V::store(lead.rival, V::maximum(V::load(lead.rival), V::minimum(top, best)));
          V::store(lead.panel, V::select(better, V::set(static_cast<int32_t>(p)), V::load(lead.panel)));
          V::store(lead.best, V::maximum(top, best));
        }
      };
      Products::multiply(state, padded_rows, depth, scratch.words, stride, words + p * panel_words, compare);
    }
  }

  template <bool Nearest>
  static GPTFACE_INLINE void stream_kept(
      State& state, const VQProblem& problem, const VQPackedGroup& packed, int64_t first, int64_t padded_rows, int limit,
      const VQNearest* nearest, const Scratch& scratch) {
    const int64_t stride = Pack::stride(problem), depth = Pack::depth(problem);
    const int64_t panels = (problem.codes + kPanel - 1) / kPanel, panel_words = Pack::panel_words(problem);
    const Word* words = reinterpret_cast<const Word*>(packed.words);
    for (int64_t p = 0; p < panels; ++p) {
      const auto compare = [&](int64_t m0, auto& sums) {
        finish<Nearest>(sums, packed.bias + p * kPanel, nearest, p * kPanel, first + m0, scratch.rows + m0);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          Kept& kept = scratch.kept[m0 + m];
          const float least = kept.count == limit ? kept.value[limit - 1] : -std::numeric_limits<float>::infinity();
          const Float top = V::maximum(V::maximum(sums[m][0], sums[m][1]), sums[m][2]);
          if (V::bits(V::greater(top, V::set(least)))) [[unlikely]] {
            float scores[kPanel];
#pragma GCC unroll 3
            for (int n = 0; n < kVectors; ++n) V::store(scores + n * V::width, sums[m][n]);
            keep(scores, static_cast<int32_t>(p * kPanel), least, limit, kept);
          }
        }
      };
      Products::multiply(state, padded_rows, depth, scratch.words, stride, words + p * panel_words, compare);
    }
  }

  static __attribute__((noinline)) void keep(
      const float* scores, int32_t code, float least, int limit, Kept& kept) {
    for (int n = 0; n < kVectors; ++n) {
      uint32_t above = V::bits(V::greater(V::load(scores + n * V::width), V::set(least)));
      for (; above; above &= above - 1) {
        const int lane = n * V::width + __builtin_ctz(above);
        kept.offer(scores[lane], code + lane, limit);
      }
    }
  }

  static GPTFACE_INLINE double score_of(
      const VQProblem& problem, const VQPackedGroup& packed, const ExactScore<Isa>& exact, int64_t group,
      int64_t code) {
    if (packed.bias[code] == kVQUnusable) return -std::numeric_limits<double>::infinity();
    return exact(problem.codebook + (group * problem.codes + code) * problem.width);
  }

  static GPTFACE_INLINE void write(const VQProblem& problem, int64_t group, int64_t row, const Decided& decided) {
    const int64_t place = (group * problem.rows + row) * problem.topk;
    for (int i = 0; i < problem.topk; ++i) {
      problem.indices[place + i] = decided.index[i];
      problem.scores[place + i] = static_cast<float>(decided.value[i]);
    }
  }

  // The score that a code must reach in the tiles to be in question; NaN: every code is.
  static GPTFACE_INLINE float bar(double value, double doubted) {
    const float lowered = static_cast<float>(value - doubted - (value < 0 ? -value : value) * 0x1p-22);
    return doubted < std::numeric_limits<double>::infinity() ? lowered : std::numeric_limits<float>::quiet_NaN();
  }

  // Whether the first pass settles the row; otherwise `least` is the bar for the second.
  static GPTFACE_INLINE bool settle_lead(
      const VQProblem& problem, const VQPackedGroup& packed, const ExactScore<Isa>& exact, int64_t group,
      const Lead& lead, int span, double doubted, Decided& decided, float& least) {
    const Float best = V::load(lead.best);
    least = bar(V::largest(best), doubted);
    if (!(V::largest(V::load(lead.rival)) < least)) return false;
    int32_t close[kPanel * Narrow::kSpan];
    int number = 0;
    for (uint32_t lanes = V::bits(V::not_less(best, V::set(least))); lanes; lanes &= lanes - 1) {
      const int lane = __builtin_ctz(lanes);
      for (int n = 0; n < kVectors * span; ++n) {
        const int64_t code = static_cast<int64_t>(lead.panel[lane]) * kPanel + n * V::width + lane;
        if (code >= problem.codes) break;
        int place = number++;  // in ascending order, as `offer` wants them
        for (; place > 0 && close[place - 1] > code; --place) close[place] = close[place - 1];
        close[place] = static_cast<int32_t>(code);
      }
    }
    for (int i = 0; i < number; ++i)
      decided.offer(score_of(problem, packed, exact, group, close[i]), close[i], 1);
    return true;
  }

  static GPTFACE_INLINE bool settle_kept(
      const VQProblem& problem, const VQPackedGroup& packed, const ExactScore<Isa>& exact, int64_t group, Kept& kept,
      double doubted, Decided& decided, float& least) {
    if (kept.count < problem.topk) {  // sums that are not numbers
      least = std::numeric_limits<float>::quiet_NaN();
      return false;
    }
    const double wanted = kept.value[problem.topk - 1];
    least = bar(wanted, doubted);
    if (!mere_ranking(problem) && kept.count < problem.codes &&
        !(kept.count > problem.topk && wanted - kept.value[kept.count - 1] > doubted))
      return false;
    for (int i = 1; i < kept.count; ++i) {  // ascending indices, as `offer` wants them
      const int32_t index = kept.index[i];
      int place = i;
      for (; place > 0 && kept.index[place - 1] > index; --place) kept.index[place] = kept.index[place - 1];
      kept.index[place] = index;
    }
    for (int i = 0; i < kept.count; ++i)
      decided.offer(score_of(problem, packed, exact, group, kept.index[i]), kept.index[i], problem.topk);
    return true;
  }

  // The second pass for up to kRows rows: every code that reaches the row's bar is scored in float64.
  static __attribute__((noinline)) void look_again(
      State& state, const VQProblem& problem, const VQPackedGroup& packed, int64_t group, const int64_t* row, const float* least,
      int number, const Scratch& scratch) {
    const int64_t stride = Pack::stride(problem), depth = Pack::depth(problem), width = problem.width;
    const int64_t panels = (problem.codes + kPanel - 1) / kPanel, panel_words = Pack::panel_words(problem);
    const Word* words = reinterpret_cast<const Word*>(packed.words);
    Decided decided[kRows];
    for (int m = 0; m < number; ++m) decided[m].clear();
    for (int64_t p = 0; p < panels; ++p) {
      const auto gather = [&](int64_t, auto& sums) {
        for (int n = 0; n < kVectors; ++n)
          for (int m = 0; m < number; ++m) {
            const Float score = V::add(sums[m][n], V::load(packed.bias + p * kPanel + n * V::width));
            uint32_t close = V::bits(V::not_less(score, V::set(least[m])));
            if (!close) continue;
            const ExactScore<Isa> exact(scratch.again_given + m * width, width, problem.metric);
            for (; close; close &= close - 1) {
              const int64_t code = p * kPanel + n * V::width + __builtin_ctz(close);
              if (code >= problem.codes) break;
              decided[m].offer(
                  score_of(problem, packed, exact, group, code), static_cast<int32_t>(code), problem.topk);
            }
          }
      };
      Products::multiply(state, kRows, depth, scratch.again_words, stride, words + p * panel_words, gather);
    }
    for (int m = 0; m < number; ++m) write(problem, group, row[m], decided[m]);
  }

  static int64_t run(
      const VQProblem& problem, const VQPackedGroup& packed, int64_t group, const VQRows& task, VQNearest* nearest,
      int32_t* left_open, std::byte* memory) {
    const int64_t first = task.first, number = task.number;
    const auto row_at = [&](int64_t r) { return task.list ? task.list[r] : first + r; };
    ScratchCursor cursor{memory};
    const Scratch scratch = lay_out(problem, cursor);
    State state;
    const int64_t stride = Pack::stride(problem), width = problem.width, padded_rows = Pack::multiple(number, kRows);
    const bool lead = one_best(problem);
    for (int64_t r = 0; r < padded_rows; ++r) {
      Word* words = scratch.words + r * stride;
      if (r < number) {
        const float* given = Pack::given_row(problem, group, row_at(r), scratch.given);
        scratch.rows[r] = Pack::pack_x(problem, packed, given, scratch.moved, stride, words);
      } else {
        std::memset(words, 0, stride * sizeof(Word));
        scratch.rows[r] = {0.0, 0.0, -std::numeric_limits<float>::infinity(), false};
      }
      if (lead)
        for (int i = 0; i < V::width; ++i) {
          scratch.leads[r].best[i] = scratch.leads[r].rival[i] = -std::numeric_limits<float>::infinity();
          scratch.leads[r].panel[i] = 0;
        }
      else
        scratch.kept[r].clear();
    }
    const int64_t wanted = problem.topk + (mere_ranking(problem) ? 0 : kSpare);
    const int limit = static_cast<int>(wanted < problem.codes ? wanted : problem.codes);
    if (lead && nearest) stream_leads<true>(state, problem, packed, first, padded_rows, nearest, scratch);
    const bool narrow = lead && !nearest && Narrow::serves(problem);
    if (narrow)
      Narrow::stream(problem, packed, padded_rows, scratch.words, scratch.leads);
    else if (lead && !nearest)
      stream_leads<false>(state, problem, packed, first, padded_rows, nearest, scratch);
    if (!lead && nearest) stream_kept<true>(state, problem, packed, first, padded_rows, limit, nearest, scratch);
    if (!lead && !nearest) stream_kept<false>(state, problem, packed, first, padded_rows, limit, nearest, scratch);

    int64_t open_row[kRows];
    float open_least[kRows];
    int open = 0;
    int64_t left = 0;
    for (int64_t r = 0; r < number; ++r) {
      Decided decided;
      decided.clear();
      if (!scratch.rows[r].usable) {
        for (int i = 0; i < problem.topk; ++i) {
          decided.index[i] = 0;
          decided.value[i] = std::numeric_limits<double>::quiet_NaN();
        }
        write(problem, group, row_at(r), decided);
        continue;
      }
      const float* given = Pack::given_row(problem, group, row_at(r), scratch.given);
      const ExactScore<Isa> exact(given, width, problem.metric);
      const double doubted = doubt(problem, packed, scratch.rows[r]);
      float least;
      const bool settled = lead
          ? settle_lead(
                problem, packed, exact, group, scratch.leads[r], narrow ? Narrow::kSpan : 1, doubted, decided, least)
          : settle_kept(problem, packed, exact, group, scratch.kept[r], doubted, decided, least);
      if (settled) {
        write(problem, group, row_at(r), decided);
        continue;
      }
      if (left_open) {
        left_open[left++] = static_cast<int32_t>(row_at(r));
        continue;
      }
      std::memcpy(scratch.again_words + open * stride, scratch.words + r * stride, stride * sizeof(Word));
      std::memcpy(scratch.again_given + open * width, given, width * sizeof(float));
      open_row[open] = row_at(r);
      open_least[open] = least;
      if (++open == kRows) {
        look_again(state, problem, packed, group, open_row, open_least, open, scratch);
        open = 0;
      }
    }
    if (open) {
      std::memset(scratch.again_words + open * stride, 0, (kRows - open) * stride * sizeof(Word));
      look_again(state, problem, packed, group, open_row, open_least, open, scratch);
    }
    return left;
  }
};

// Word is what multiplies: float32, or bfloat16 pairs for a first pass or for those who asked for bfloat16.
template <class Isa, class Word>
constexpr VQKernels make_vq_kernels() {
  using Pack = VQPack<Isa, Word>;
  using Block = VQBlock<Isa, Word>;
  return {Pack::kPanel,       Pack::panel_words,    Block::block_rows, Pack::sum_codes,
          Pack::pack_scratch, Block::block_scratch, Pack::pack_panel,  Block::run};
}

}  // namespace gptface
