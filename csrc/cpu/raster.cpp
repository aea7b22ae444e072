// Rasterisation on the CPU: torch's threads and the machine's instruction set under gptface/raster_pictures.h.
#include "raster_tables.h"

#include <torch/csrc/stable/ops.h>

#include <gptface/cpu_features.h>
#include <gptface/raster_pictures.h>
#include <gptface/raster_silhouettes.h>

namespace gptface {

namespace {

void run_on_torch_threads(int workers, void (*body)(int worker, void* context), void* context) {
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) body(static_cast<int>(worker), context);
  });
}

int torch_threads() { return static_cast<int>(torch::stable::get_num_threads()); }

const RasterKernels& kernels() {
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
  if (set >= InstructionSet::avx512) return kRasterAvx512;
  if (set == InstructionSet::avx2) return kRasterAvx2;
#endif
  return kRasterPortable;
}

}  // namespace

void rasterize_cpu(const RasterProblem& problem) {
  rasterize(kernels(), problem, torch_threads(), run_on_torch_threads);
}

void rasterize_backward_cpu(const RasterGradientProblem& problem) {
  rasterize_backward(kernels(), problem, torch_threads(), run_on_torch_threads);
}

void interpolate_cpu(const InterpolationProblem& problem) {
  interpolate(kernels(), problem, torch_threads(), run_on_torch_threads);
}

void interpolate_backward_cpu(const InterpolationProblem& problem) {
  interpolate_backward(kernels(), problem, torch_threads(), run_on_torch_threads);
}

void antialias_cpu(const AntialiasProblem& problem) { antialias(problem, torch_threads(), run_on_torch_threads); }

void antialias_backward_cpu(const AntialiasProblem& problem) {
  antialias_backward(problem, torch_threads(), run_on_torch_threads);
}

}  // namespace gptface
