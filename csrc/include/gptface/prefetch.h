// Rows of tensors brought into the cache a few at a time, beside a computation that leaves the memory idle.
//
// Rows of a head are short and far apart, so the hardware's prefetchers see no stream in them.
#pragma once

#include <cstdint>

#include <gptface/simd.h>

namespace gptface {

// A queue of stretches of rows; each step asks for the next few rows, into the second-level cache.
class RowPrefetcher {
 public:
  explicit RowPrefetcher(int64_t row_bytes) : bytes_(row_bytes) {}

  // `rows` rows from `first`, `stride` bytes apart. At most kMost stretches.
  GPTFACE_INLINE void add(const char* first, int64_t stride, int64_t rows) {
    if (rows <= 0) return;
    stretches_[count_++] = {first, stride, rows};
    waiting_ += rows;
  }

  // Divides what waits over `steps` steps.
  GPTFACE_INLINE void spread(int64_t steps) { rows_a_step_ = steps > 0 ? (waiting_ + steps - 1) / steps : 0; }

  GPTFACE_INLINE void step() {
    for (int64_t n = rows_a_step_; n > 0 && next_ < count_; --n) {
      Stretch& stretch = stretches_[next_];
      for (int64_t at = 0; at < bytes_; at += kLine) __builtin_prefetch(stretch.row + at, 0, 2);
      stretch.row += stretch.stride;
      if (--stretch.rows == 0) ++next_;
    }
  }

 private:
  static constexpr int kMost = 8;
  static constexpr int64_t kLine = 64;
  struct Stretch {
    const char* row;
    int64_t stride, rows;
  };
  Stretch stretches_[kMost];
  int count_ = 0, next_ = 0;
  int64_t bytes_, waiting_ = 0, rows_a_step_ = 0;
};

}  // namespace gptface
