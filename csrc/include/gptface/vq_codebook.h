// A codebook as the kernels of the lookup want it: centred, laid out in panels, in memory of its own or of the caller.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include <gptface/parallel.h>
#include <gptface/scratch_cursor.h>
#include <gptface/thread_scratch.h>
#include <gptface/vq_problem.h>

namespace gptface {

namespace detail {

// The mean of the usable codes, rounded to a multiple of a power of two no smaller than their spread: data without an
// offset is left alone, and differences of whole numbers stay whole. Moving codes by the same vector does not change
// their order for a row; that of a distance moves along.
inline void centre_of(const VQProblem& problem, const std::vector<VQCodeSums>& stretches, float* centre) {
  std::vector<double> mean(problem.width, 0.0);
  double squares = 0.0;
  int64_t usable = 0;
  for (const VQCodeSums& part : stretches) {
    for (int64_t k = 0; k < problem.width; ++k) mean[k] += part.sum[k];
    squares += part.squares;
    usable += part.number;
  }
  const double number = static_cast<double>(std::max<int64_t>(usable, 1));
  double variance = squares / number;
  for (double& sum : mean) {
    sum /= number;
    variance -= sum * sum;
  }
  const double spread = std::sqrt(std::max(variance, 0.0) / static_cast<double>(problem.width));
  const double step = std::exp2(std::ceil(std::log2(std::max(spread, 1e-300))));
  for (int64_t k = 0; k < problem.width; ++k) {
    const double multiples = mean[k] / step;
    const double rounded = std::fabs(multiples) < 0x1p52 ? std::nearbyint(multiples) * step : mean[k];
    centre[k] = static_cast<float>(rounded);
  }
}

// Of every group: `centres` is (groups, width). Stretches depend on the shape alone, so that a centre does not depend on
// the workers.
inline void centres_of(
    const VQKernels& kernels, const VQProblem& problem, int workers, ParallelFor parallel_for, float* centres) {
  constexpr int64_t kStretch = 512;
  const int64_t stretches = (problem.codes + kStretch - 1) / kStretch, width = problem.width;
  std::vector<double> memory(problem.groups * stretches * width, 0.0);
  std::vector<std::vector<VQCodeSums>> sums(problem.groups, std::vector<VQCodeSums>(stretches));
  for_each_task(problem.groups * stretches, 1, workers, parallel_for, [&](int64_t task, int) {
    const int64_t group = task / stretches, begin = task % stretches * kStretch;
    VQCodeSums& into = sums[group][task % stretches];
    into = {memory.data() + task * width, 0.0, 0};
    kernels.sum_codes(problem, group, begin, std::min(begin + kStretch, problem.codes), into);
  });
  for (int64_t group = 0; group < problem.groups; ++group) centre_of(problem, sums[group], centres + group * width);
}

// The codes of all groups as one set of kernels wants them. Where it lies is the caller's affair.
struct PackedPieces {
  std::byte* words;
  float* biases;
  VQNorms* largest;  // of each group
};

inline PackedPieces pieces_of(const VQKernels& kernels, const VQProblem& problem, ScratchCursor& cursor) {
  const int64_t panels = (problem.codes + kernels.panel - 1) / kernels.panel;
  PackedPieces pieces;
  pieces.words = cursor.take<std::byte>(problem.groups * panels * kernels.panel_words(problem) * 4);
  pieces.biases = cursor.take<float>(problem.groups * panels * kernels.panel);
  pieces.largest = cursor.take<VQNorms>(problem.groups);
  return pieces;
}

// Views of filled pieces, or of pieces to be filled.
inline std::vector<VQPackedGroup> groups_of(
    const VQKernels& kernels, const VQProblem& problem, const PackedPieces& pieces, const float* centres) {
  const int64_t panels = (problem.codes + kernels.panel - 1) / kernels.panel;
  const int64_t bytes = panels * kernels.panel_words(problem) * 4;
  std::vector<VQPackedGroup> groups;
  for (int64_t group = 0; group < problem.groups; ++group)
    groups.push_back({pieces.words + group * bytes, pieces.biases + group * panels * kernels.panel,
                      centres + group * problem.width, pieces.largest[group].norm, pieces.largest[group].residual});
  return groups;
}

inline void fill_pieces(
    const VQKernels& kernels, const VQProblem& problem, const PackedPieces& pieces, const float* centres, int workers,
    ParallelFor parallel_for) {
  const int64_t groups = problem.groups, panels = (problem.codes + kernels.panel - 1) / kernels.panel;
  std::fill_n(pieces.largest, groups, VQNorms{0.0, 0.0});
  std::vector<VQPackedGroup> packed = groups_of(kernels, problem, pieces, centres);
  std::vector<ThreadScratch> scratch(workers);
  std::vector<VQNorms> norms(groups * panels);
  const int64_t scratch_bytes = kernels.pack_scratch(problem);
  for_each_task(groups * panels, 4, workers, parallel_for, [&](int64_t task, int worker) {
    const int64_t group = task / panels;
    norms[task] = kernels.pack_panel(problem, packed[group], group, task % panels, scratch[worker].get(scratch_bytes));
  });
  for (int64_t task = 0; task < groups * panels; ++task) {
    VQNorms& largest = pieces.largest[task / panels];
    largest.norm = std::max(largest.norm, norms[task].norm);
    // A residual that is no number (a code beyond bfloat16's range) must not be lost in a comparison.
    if (!(norms[task].residual <= largest.residual)) largest.residual = norms[task].residual;
  }
}

// What a lookup asks of a codebook, for its kernels and for those of its first pass.
struct CodebookPieces {
  float* centres;  // (groups, width)
  PackedPieces fine, coarse;
};

inline CodebookPieces codebook_pieces(
    const VQKernels& kernels, const VQProblem& problem, const VQKernels* first, ScratchCursor& cursor) {
  CodebookPieces pieces{};
  pieces.centres = cursor.take<float>(problem.groups * problem.width);
  pieces.fine = pieces_of(kernels, problem, cursor);
  if (first) pieces.coarse = pieces_of(*first, problem, cursor);
  return pieces;
}

inline std::unique_ptr<std::byte[], void (*)(std::byte*)> aligned_bytes(int64_t bytes) {
  return {new (std::align_val_t{64}) std::byte[std::max<int64_t>(bytes, 1)],
          [](std::byte* memory) { ::operator delete[](memory, std::align_val_t{64}); }};
}

// One set of kernels' view of a codebook, with the memory behind it where nobody else owns that.
struct PackedCodebook {
  std::vector<VQPackedGroup> groups;
  std::unique_ptr<std::byte[], void (*)(std::byte*)> memory;
};

// Where a lookup's packed codes come from: what was packed before, or work done when they are first asked for, so that
// the fine ones are not made where the coarse ones settle every row.
class CodebookSource {
 public:
  CodebookSource(
      const VQKernels& kernels, const VQProblem& problem, const VQKernels* first, const std::byte* packed, int workers,
      ParallelFor parallel_for)
      : kernels_(kernels), problem_(problem), first_(first), workers_(workers), parallel_for_(parallel_for) {
    if (packed) {
      ScratchCursor cursor{const_cast<std::byte*>(packed)};  // nobody writes to it
      packed_ = codebook_pieces(kernels, problem, first, cursor);
      return;
    }
    centres_.resize(problem.groups * problem.width);
    centres_of(kernels, problem, workers, parallel_for, centres_.data());
  }

  PackedCodebook fine() const { return get(kernels_, packed_.fine); }
  PackedCodebook coarse() const { return get(*first_, packed_.coarse); }

 private:
  PackedCodebook get(const VQKernels& kernels, const PackedPieces& there) const {
    if (there.words) return {groups_of(kernels, problem_, there, packed_.centres), {nullptr, nullptr}};
    ScratchCursor counter{nullptr};
    pieces_of(kernels, problem_, counter);
    auto memory = aligned_bytes(counter.used);
    ScratchCursor cursor{memory.get()};
    const PackedPieces pieces = pieces_of(kernels, problem_, cursor);
    fill_pieces(kernels, problem_, pieces, centres_.data(), workers_, parallel_for_);
    return {groups_of(kernels, problem_, pieces, centres_.data()), std::move(memory)};
  }

  const VQKernels& kernels_;
  const VQProblem& problem_;
  const VQKernels* first_;
  int workers_;
  ParallelFor parallel_for_;
  std::vector<float> centres_;
  CodebookPieces packed_{};
};

}  // namespace detail

// Bytes that vq_pack fills for these kernels (see vq_lookup) and the codebook's shape.
inline int64_t vq_packed_bytes(const VQKernels& kernels, const VQProblem& problem, const VQKernels* first = nullptr) {
  ScratchCursor cursor{nullptr};
  detail::codebook_pieces(kernels, problem, first, cursor);
  return cursor.used;
}

// Packs the codebook into `memory` (vq_packed_bytes, at an address that 64 divides), for any number of lookups with the
// same kernels and metric. Of the problem it reads what concerns the codebook. The memory may be copied to another such
// address. A lookup still reads the codebook itself, which must not have changed. Throws std::bad_alloc.
inline void vq_pack(
    const VQKernels& kernels, const VQProblem& problem, std::byte* memory, int workers,
    ParallelFor parallel_for = run_on_threads, const VQKernels* first = nullptr) {
  workers = std::max(workers, 1);
  ScratchCursor cursor{memory};
  const detail::CodebookPieces pieces = detail::codebook_pieces(kernels, problem, first, cursor);
  detail::centres_of(kernels, problem, workers, parallel_for, pieces.centres);
  detail::fill_pieces(kernels, problem, pieces.fine, pieces.centres, workers, parallel_for);
  if (first) detail::fill_pieces(*first, problem, pieces.coarse, pieces.centres, workers, parallel_for);
}

}  // namespace gptface
