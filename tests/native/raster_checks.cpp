// Checks of the CUDA rasteriser, its kernels on the threads of a CPU (cuda_on_threads), against the CPU's own kernels.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include <gptface/raster_device.cuh>
#include <gptface/raster_pictures.h>
#include <gptface/raster_tiles.h>

using namespace gptface;

namespace {

int failures = 0;

void expect(bool holds, const char* name, const char* what) {
  if (holds) return;
  std::printf("%s: %s differ\n", name, what);
  ++failures;
}

struct Pictures {
  std::vector<int32_t> triangle, dropped;
  std::vector<float> barycentric, depth;

  Pictures(int64_t batch, int64_t pixels)
      : triangle(batch * pixels, -7), dropped(batch, -7), barycentric(batch * pixels * 2, -7),
        depth(batch * pixels, -7) {}

  void attach(RasterProblem& problem) {
    problem.triangle = triangle.data(), problem.dropped = dropped.data();
    problem.barycentric = barycentric.data(), problem.depth = depth.data();
  }
};

void run_blocks(int64_t threads, auto kernel, const auto&... arguments) {
  const auto blocks = static_cast<unsigned>((threads + kRasterThreads - 1) / kRasterThreads);
  run_kernel(kernel, {blocks}, kRasterThreads, arguments...);
}

void draw_on_device(const RasterProblem& problem) {
  const int64_t pixels = problem.batch * problem.height * problem.width, vertices = problem.batch * problem.vertices;
  const int64_t items = problem.batch * problem.count;
  std::vector<ScreenVertex> projected(vertices);
  std::vector<unsigned long long> nearest(pixels);
  std::vector<int64_t> large(items);
  unsigned long long number_large = 77;
  const RasterScratch scratch{projected.data(), nearest.data(), large.data(), &number_large};
  run_blocks(std::max(pixels, vertices), project_kernel, problem, scratch);
  run_blocks(items * kThreadsOfATriangle, cover_kernel<false>, problem, scratch);
  run_kernel(cover_large_kernel<false>, {2, kSlices}, kRasterThreads, problem, scratch);
  run_blocks(items * kThreadsOfATriangle, cover_kernel<true>, problem, scratch);
  run_kernel(cover_large_kernel<true>, {2, kSlices}, kRasterThreads, problem, scratch);
  run_blocks(pixels, resolve_kernel, problem);
}

// Triangles of all sizes that cut through one another, some before the near plane, some not a number, one that names a
// vertex that does not exist.
void check(const char* name, int32_t height, int32_t width, float extent, unsigned seed) {
  constexpr int64_t batch = 2, count = 61, vertices = 3 * count, channels = 3;
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> positions(batch * vertices * 4), attributes(batch * vertices * channels);
  for (float& value : attributes) value = uniform(random);
  for (int64_t v = 0; v < batch * vertices; ++v) {
    static thread_local float centre[3];
    if (v % 3 == 0)
      for (float& value : centre) value = 1.2f * uniform(random);
    float* position = positions.data() + 4 * v;
    position[3] = 1.0f + 0.3f * uniform(random);
    for (int k = 0; k < 3; ++k) position[k] = (centre[k] + extent * uniform(random)) * position[3];
  }
  positions[5] = NAN;
  std::vector<int32_t> triangles(3 * count);
  for (int64_t i = 0; i < 3 * count; ++i) triangles[i] = static_cast<int32_t>(i);
  triangles[9] = vertices;

  RasterProblem problem{};
  problem.positions = positions.data(), problem.triangles = triangles.data();
  problem.batch = batch, problem.vertices = vertices, problem.count = count;
  problem.height = height, problem.width = width;
  const int64_t pixels = int64_t{height} * width;
  const RasterKernels kernels = make_raster_kernels<Portable>();
  Pictures host(batch, pixels), device(batch, pixels);
  host.attach(problem);
  rasterize(kernels, problem, 1, run_on_threads);
  device.attach(problem);
  draw_on_device(problem);
  expect(host.dropped[0] >= 2 && host.dropped == device.dropped, name, "dropped");
  expect(host.triangle == device.triangle, name, "triangles");
  expect(host.barycentric == device.barycentric, name, "weights");
  expect(host.depth == device.depth, name, "depths");
  const auto shown = std::count_if(host.triangle.begin(), host.triangle.end(), [](int32_t t) { return t >= 0; });
  expect(shown > 0, name, "pictures show nothing or");

  triangles[9] = 0;  // nobody shows it
  std::vector<float> out(batch * pixels * channels, -7), out_device(out);
  InterpolationProblem mixing{};
  mixing.attributes = attributes.data(), mixing.triangles = triangles.data(), mixing.triangle = host.triangle.data();
  mixing.barycentric = host.barycentric.data();
  mixing.batch = batch, mixing.vertices = vertices, mixing.count = count, mixing.channels = channels;
  mixing.height = height, mixing.width = width;
  mixing.out = out.data();
  interpolate(kernels, mixing, 1, run_on_threads);
  mixing.out = out_device.data();
  run_blocks(batch * pixels, interpolate_kernel, mixing);
  expect(out == out_device, name, "attributes");

  RasterGradientProblem gradient{};
  gradient.positions = positions.data(), gradient.triangles = triangles.data();
  gradient.triangle = host.triangle.data();
  gradient.batch = batch, gradient.vertices = vertices, gradient.count = count;
  gradient.height = height, gradient.width = width;
  std::vector<float> upstream(batch * pixels * 2), sums(batch * vertices * 4, -7), corners(batch * pixels * 12, -7);
  for (float& value : upstream) value = uniform(random);
  gradient.grad_barycentric = upstream.data(), gradient.grad_depth = upstream.data();
  gradient.grad_positions = sums.data();
  rasterize_backward(kernels, gradient, 1, run_on_threads);
  gradient.grad_positions = corners.data();
  run_blocks(batch * pixels, corner_gradient_kernel, gradient);
  std::vector<double> exact(sums.size()), sizes(sums.size());
  for (int64_t pixel = 0; pixel < batch * pixels; ++pixel)
    for (int i = 0; i < 12; ++i) {
      const int32_t t = host.triangle[pixel];
      const float given = corners[12 * pixel + i];
      if (t < 0) {
        expect(given == 0.0f, name, "gradients of nothing");
        continue;
      }
      const int64_t place = (pixel / pixels * vertices + triangles[3 * t + i / 4]) * 4 + i % 4;
      exact[place] += given, sizes[place] += std::abs(given);
    }
  for (std::size_t i = 0; i < sums.size(); ++i)
    expect(std::abs(sums[i] - exact[i]) <= 1e-4 * sizes[i] + 1e-6, name, "gradients");
}

}  // namespace

int main() {
  check("small triangles", 40, 37, 0.05f, 1);
  check("large triangles", 61, 80, 0.9f, 2);
  check("one pixel", 1, 1, 2.0f, 3);
  std::printf("%d failures\n", failures);
  return failures != 0;
}
