// Launchers of gptface/raster_device.cuh. No synchronisation with the host; safe under CUDA graphs.
#include <gptface/built_from.h>
#include <gptface/raster_device.cuh>

#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>

namespace gptface {

namespace {

constexpr unsigned kBlocksOfLarge = 128;

void check(cudaError_t status) {
  STD_TORCH_CHECK(status == cudaSuccess, "gptface: CUDA: ", cudaGetErrorString(status));
}

unsigned blocks_for(int64_t threads) { return static_cast<unsigned>((threads + kRasterThreads - 1) / kRasterThreads); }

template <bool Choose>
void cover(const RasterProblem& problem, const RasterScratch& scratch, cudaStream_t queue) {
  const int64_t threads = problem.batch * problem.count * kThreadsOfATriangle;
  if (threads == 0) return;
  cover_kernel<Choose><<<blocks_for(threads), kRasterThreads, 0, queue>>>(problem, scratch);
  check(cudaGetLastError());
  cover_large_kernel<Choose><<<dim3(kBlocksOfLarge, kSlices), kRasterThreads, 0, queue>>>(problem, scratch);
  check(cudaGetLastError());
}

}  // namespace

void rasterize_cuda(const RasterProblem& problem, const RasterScratch& scratch, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const int64_t pixels = problem.batch * problem.height * problem.width, vertices = problem.batch * problem.vertices;
  if (problem.batch == 0) return;
  project_kernel<<<blocks_for(pixels > vertices ? pixels : vertices), kRasterThreads, 0, queue>>>(problem, scratch);
  check(cudaGetLastError());
  cover<false>(problem, scratch, queue);
  cover<true>(problem, scratch, queue);
  resolve_kernel<<<blocks_for(pixels), kRasterThreads, 0, queue>>>(problem);
  check(cudaGetLastError());
}

void raster_corner_gradients_cuda(const RasterGradientProblem& problem, void* stream) {
  const int64_t pixels = problem.batch * problem.height * problem.width;
  if (pixels == 0) return;
  corner_gradient_kernel<<<blocks_for(pixels), kRasterThreads, 0, static_cast<cudaStream_t>(stream)>>>(problem);
  check(cudaGetLastError());
}

void interpolate_cuda(const InterpolationProblem& problem, void* stream) {
  const int64_t pixels = problem.batch * problem.height * problem.width;
  if (pixels == 0) return;
  interpolate_kernel<<<blocks_for(pixels), kRasterThreads, 0, static_cast<cudaStream_t>(stream)>>>(problem);
  check(cudaGetLastError());
}

}  // namespace gptface
