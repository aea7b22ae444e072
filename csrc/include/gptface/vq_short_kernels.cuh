// VQ lookup of vectors of up to 32 elements on a GPU, where tensor cores would multiply mostly padding: a thread holds
// a few rows in registers, a tile of codes lies in shared memory, products are float32 fused multiply-adds.
//
// A first kernel nominates two codes a row and share of the codebook, a second decides among them in float64 from the
// original values. Every score is summed in one order, so equal codes get equal scores, and codes come in ascending
// order, so of equal ones the first stays. tests/native/vq_short_checks.cpp runs both on the threads of a CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <gptface/vq_short.h>

namespace gptface {

namespace {

constexpr int kThreads = 128;
constexpr int kTile = 128;    // codes in shared memory at a time
constexpr int kTogether = 4;  // codes whose scores are compared at once
constexpr int32_t kNobody = 0x7FFFFFFF;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float to_float(__half value) { return __half2float(value); }

// Words of shared memory are read by all threads of a warp at once, four at a time: with `Rows` rows a thread that is
// one load in 4 · Rows multiply-adds.
__host__ __device__ constexpr int rows_of_a_thread(int width) { return width <= 8 ? 4 : 2; }

struct Pair {
  float best = -__builtin_inff(), second = -__builtin_inff();
  int32_t best_code = kNobody, second_code = kNobody;

  __device__ void offer(float score, int32_t code) {
    if (score > best) {
      second = best, second_code = best_code;
      best = score, best_code = code;
    } else if (score > second) {
      second = score, second_code = code;
    }
  }
};

template <int Width, class Element>
__global__ void __launch_bounds__(kThreads) nominate_kernel(const __grid_constant__ VQShortProblem problem) {
  constexpr int rows_each = rows_of_a_thread(Width);
  alignas(16) __shared__ float words[kTile * Width];
  alignas(16) __shared__ float bias[kTile];
  const int64_t row_blocks = (problem.rows + kThreads * rows_each - 1) / (kThreads * rows_each);
  const int64_t group = blockIdx.x / row_blocks, share = blockIdx.y;
  const int64_t first_row = blockIdx.x % row_blocks * (kThreads * rows_each) + threadIdx.x;
  const float scale = problem.scale[group];
  const bool moved = problem.metric == VQMetric::euclidean;
  float row[rows_each][Width];
  Pair kept[rows_each];
#pragma unroll
  for (int r = 0; r < rows_each; ++r) {
    const int64_t wanted = first_row + r * kThreads, n = wanted < problem.rows ? wanted : problem.rows - 1;
    const Element* x =
        static_cast<const Element*>(problem.x) + group * problem.group_stride + n * problem.row_stride;
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      row[r][k] = 0.0f;
      if (k < problem.width) {
        const float centre = moved ? problem.centre[group * problem.width + k] : 0.0f;
        row[r][k] = (to_float(x[k * problem.column_stride]) - centre) * scale;
      }
    }
  }

  const int64_t tiles = (problem.codes + kTile - 1) / kTile, each = (tiles + problem.shares - 1) / problem.shares;
  const int64_t end = (share + 1) * each < tiles ? (share + 1) * each : tiles;
  for (int64_t tile = share * each; tile < end; ++tile) {
    const int64_t first_code = tile * kTile;
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * Width; i += kThreads) {
      const int64_t code = first_code + i / Width;
      const int k = i % Width;
      const bool there = code < problem.codes && k < problem.width;
      words[i] = there ? problem.words[(group * problem.codes + code) * problem.width + k] : 0.0f;
    }
    for (int i = threadIdx.x; i < kTile; i += kThreads) {
      const int64_t code = first_code + i;
      bias[i] = code < problem.codes ? problem.bias[group * problem.codes + code] : -__builtin_inff();
    }
    __syncthreads();
    for (int c = 0; c < kTile; c += kTogether) {
      float score[rows_each][kTogether];
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        const float4* code = reinterpret_cast<const float4*>(words + (c + j) * Width);
#pragma unroll
        for (int r = 0; r < rows_each; ++r) score[r][j] = bias[c + j];
#pragma unroll
        for (int k = 0; k < Width / 4; ++k) {
          const float4 four = code[k];
#pragma unroll
          for (int r = 0; r < rows_each; ++r) {
            score[r][j] = fmaf(row[r][4 * k], four.x, score[r][j]);
            score[r][j] = fmaf(row[r][4 * k + 1], four.y, score[r][j]);
            score[r][j] = fmaf(row[r][4 * k + 2], four.z, score[r][j]);
            score[r][j] = fmaf(row[r][4 * k + 3], four.w, score[r][j]);
          }
        }
      }
#pragma unroll
      for (int r = 0; r < rows_each; ++r) {
        const float top = fmaxf(fmaxf(score[r][0], score[r][1]), fmaxf(score[r][2], score[r][3]));
        if (top > kept[r].second) {  // seldom: a row changes its mind about as often as log(codes)
#pragma unroll
          for (int j = 0; j < kTogether; ++j) kept[r].offer(score[r][j], static_cast<int32_t>(first_code) + c + j);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows_each; ++r) {
    const int64_t n = first_row + r * kThreads;
    if (n >= problem.rows) continue;
    int32_t* place =
        problem.nominated + ((group * problem.rows + n) * problem.shares + share) * kVQShortNominated;
    place[0] = kept[r].best_code;
    place[1] = kept[r].second_code;
  }
}

// As the definition has it; −infinity for a code that holds a NaN or an infinity.
template <class Element>
__device__ double exact_score(const VQShortProblem& problem, const Element* x, const float* code) {
  double product = 0.0, distance = 0.0, row_square = 0.0, code_square = 0.0;
  float finite = 0.0f;
  for (int k = 0; k < problem.width; ++k) {
    const double a = to_float(x[k * problem.column_stride]), b = code[k];
    finite += code[k] * 0.0f;
    product += a * b;
    distance += (a - b) * (a - b);
    row_square += a * a;
    code_square += b * b;
  }
  if (finite != 0.0f) return -__builtin_inf();
  if (problem.metric == VQMetric::euclidean) return -distance;
  if (problem.metric == VQMetric::dot) return product;
  const double norms = sqrt(row_square) * sqrt(code_square);
  return norms > 0.0 ? product / norms : 0.0;
}

template <class Element>
__global__ void __launch_bounds__(kThreads) decide_kernel(const __grid_constant__ VQShortProblem problem) {
  const int64_t place = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (place >= problem.groups * problem.rows) return;
  const int64_t group = place / problem.rows;
  const Element* x = static_cast<const Element*>(problem.x) + group * problem.group_stride +
      place % problem.rows * problem.row_stride;
  float finite = 0.0f;
  for (int k = 0; k < problem.width; ++k) finite += to_float(x[k * problem.column_stride]) * 0.0f;
  if (finite != 0.0f) {
    problem.scores[place] = __builtin_nanf("");
    problem.indices[place] = 0;
    return;
  }
  const int number = problem.shares * kVQShortNominated;
  double best = 0.0;
  int64_t best_code = -1;
  for (int i = 0; i < number; ++i) {
    const int64_t code = problem.nominated[place * number + i];
    if (code >= problem.codes) continue;
    const double score = exact_score(problem, x, problem.codebook + (group * problem.codes + code) * problem.width);
    if (best_code < 0 || score > best || (score == best && code < best_code)) best = score, best_code = code;
  }
  if (best_code < 0) {  // float32 held none of the row's products
    best_code = 0;
    best = exact_score(problem, x, problem.codebook + group * problem.codes * problem.width);
  }
  problem.scores[place] = static_cast<float>(best);
  problem.indices[place] = best_code;
  auto* count = reinterpret_cast<unsigned long long*>(problem.counts + group * problem.codes + best_code);
  atomicAdd(count, 1ull);
}

}  // namespace

}  // namespace gptface
