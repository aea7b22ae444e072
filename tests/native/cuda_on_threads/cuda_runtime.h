// As much of CUDA as a kernel without warp instructions needs, on the threads of a CPU: a block's threads are threads,
// blocks run one after another. For checks of arithmetic and indexing where there is no GPU.
#pragma once

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct alignas(16) float4 {
  float x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx;
inline std::unique_ptr<std::barrier<>> threads_of_the_block;

inline void __syncthreads() { threads_of_the_block->arrive_and_wait(); }

inline unsigned long long atomicAdd(unsigned long long* place, unsigned long long value) {
  return std::atomic_ref<unsigned long long>(*place).fetch_add(value);
}

inline int atomicAdd(int* place, int value) { return std::atomic_ref<int>(*place).fetch_add(value); }

template <class Number>
Number atomicMin(Number* place, Number value) {
  std::atomic_ref<Number> there(*place);
  Number old = there.load();
  while (value < old && !there.compare_exchange_weak(old, value)) {
  }
  return old;
}

inline thread_local dim3 gridDim;

// kernel<<<grid, threads>>>(arguments...)
template <class Kernel, class... Arguments>
void run_kernel(Kernel kernel, dim3 grid, unsigned threads, const Arguments&... arguments) {
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) {
      threads_of_the_block = std::make_unique<std::barrier<>>(threads);
      std::vector<std::thread> running;
      for (unsigned thread = 0; thread < threads; ++thread)
        running.emplace_back([&, thread] {
          threadIdx = {thread, 0, 0};
          blockIdx = {x, y, 0};
          gridDim = grid;
          kernel(arguments...);
        });
      for (std::thread& thread : running) thread.join();
    }
}
