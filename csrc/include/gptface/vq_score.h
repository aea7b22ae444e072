// The score that decides, in float64 from the original values, and the candidates it ranks.
#pragma once

#include <gptface/simd.h>
#include <gptface/vq_problem.h>

namespace gptface {

// Sums of products in float64 over eight lanes, in one order whatever the instruction set.
template <class Isa>
struct ExactSums {
  typedef float Single __attribute__((vector_size(32)));
  typedef double Double __attribute__((vector_size(64)));
  static constexpr int lanes = 8;

  // add(total, a, b) over the elements of `a` and `b`, whose missing last elements are zeros.
  template <class Add>
  static GPTFACE_INLINE double sum(const float* a, const float* b, int64_t width, const Add& add) {
    Double total{};
    Single left, right;
    int64_t k = 0;
    for (; k + lanes <= width; k += lanes) {
      std::memcpy(&left, a + k, sizeof(left));
      std::memcpy(&right, b + k, sizeof(right));
      add(total, __builtin_convertvector(left, Double), __builtin_convertvector(right, Double));
    }
    if (k < width) {
      left = Single{}, right = Single{};
      std::memcpy(&left, a + k, (width - k) * sizeof(float));
      std::memcpy(&right, b + k, (width - k) * sizeof(float));
      add(total, __builtin_convertvector(left, Double), __builtin_convertvector(right, Double));
    }
    double result = 0.0;
    for (int i = 0; i < lanes; ++i) result += total[i];
    return result;
  }

  // Vectors by reference: by value they would depend on an ABI.
  static GPTFACE_INLINE double product(const float* a, const float* b, int64_t width) {
    return sum(a, b, width, [](Double& total, const Double& x, const Double& y) { total += x * y; });
  }

  // total += factor · values
  static GPTFACE_INLINE void add_scaled(const float* values, double factor, int64_t width, double* total) {
    Single some;
    Double sum;
    int64_t k = 0;
    for (; k + lanes <= width; k += lanes) {
      std::memcpy(&some, values + k, sizeof(some));
      std::memcpy(&sum, total + k, sizeof(sum));
      sum += __builtin_convertvector(some, Double) * factor;
      std::memcpy(total + k, &sum, sizeof(sum));
    }
    for (; k < width; ++k) total[k] += values[k] * factor;
  }

  static GPTFACE_INLINE double squared_distance(const float* a, const float* b, int64_t width) {
    return sum(a, b, width, [](Double& total, const Double& x, const Double& y) {
      const Double difference = x - y;
      total += difference * difference;
    });
  }
};

// Scores of one row, as the definition has them: float32 squares and products cannot overflow in float64.
template <class Isa>
struct ExactScore {
  using Sums = ExactSums<Isa>;
  const float* row;
  int64_t width;
  VQMetric metric;
  double norm;

  GPTFACE_INLINE ExactScore(const float* given, int64_t length, VQMetric by)
      : row(given), width(length), metric(by), norm(0.0) {
    if (metric == VQMetric::cosine) norm = std::sqrt(Sums::product(row, row, width));
  }

  GPTFACE_INLINE double operator()(const float* code) const {
    if (metric == VQMetric::euclidean) return -Sums::squared_distance(row, code, width);
    const double product = Sums::product(row, code, width);
    if (metric == VQMetric::dot) return product;
    const double norms = norm * std::sqrt(Sums::product(code, code, width));
    return norms > 0.0 ? product / norms : 0.0;
  }
};

// The best candidates of a row, best first. Offered in ascending order of their indices, so that ties go to the lowest.
template <class Isa, class Value, int Capacity>
struct VQCandidates {
  Value value[Capacity];
  int32_t index[Capacity];
  int count;

  GPTFACE_INLINE void clear() { count = 0; }

  GPTFACE_INLINE void offer(Value offered, int32_t code, int limit) {
    if (count == limit) {
      if (!(offered > value[count - 1])) return;
    } else {
      ++count;
    }
    int place = count - 1;
    for (; place > 0 && offered > value[place - 1]; --place) {
      value[place] = value[place - 1];
      index[place] = index[place - 1];
    }
    value[place] = offered;
    index[place] = code;
  }
};

}  // namespace gptface
