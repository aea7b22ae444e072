// Attributes of vertices mixed at every pixel, on the CPU, and the gradients of that.
#pragma once

#include <cstdint>

#include <gptface/raster.h>
#include <gptface/simd.h>

namespace gptface::detail {

// `Channels` 0: as many as the problem says.
template <class Isa, int Channels>
GPTFACE_INLINE void interpolate_some(const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end) {
  const int64_t channels = Channels ? Channels : problem.channels;
  const float* attributes = problem.attributes + (problem.shared ? 0 : sample * problem.vertices * channels);
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int32_t t = problem.triangle[pixel];
    float* out = problem.out + pixel * channels;
    if (t < 0) {
      for (int64_t k = 0; k < channels; ++k) out[k] = 0.0f;
      continue;
    }
    const int32_t* corners = problem.triangles + 3 * int64_t{t};
    const float weight0 = problem.barycentric[2 * pixel], weight1 = problem.barycentric[2 * pixel + 1];
    const float weight2 = 1.0f - (weight0 + weight1);
    const float* corner0 = attributes + corners[0] * channels;
    const float* corner1 = attributes + corners[1] * channels;
    const float* corner2 = attributes + corners[2] * channels;
    for (int64_t k = 0; k < channels; ++k) out[k] = weight0 * corner0[k] + weight1 * corner1[k] + weight2 * corner2[k];
  }
}

template <class Isa, int Channels>
GPTFACE_INLINE void interpolation_gradient_some(
    const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end, float* sums) {
  const int64_t channels = Channels ? Channels : problem.channels;
  const float* attributes = problem.attributes + (problem.shared ? 0 : sample * problem.vertices * channels);
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int32_t t = problem.triangle[pixel];
    float grad0 = 0.0f, grad1 = 0.0f;
    if (t >= 0) {
      const int32_t* corners = problem.triangles + 3 * int64_t{t};
      const int64_t place0 = corners[0] * channels, place1 = corners[1] * channels, place2 = corners[2] * channels;
      const float weight0 = problem.barycentric[2 * pixel], weight1 = problem.barycentric[2 * pixel + 1];
      const float weight2 = 1.0f - (weight0 + weight1);
      const float* gradient = problem.gradient + pixel * channels;
      for (int64_t k = 0; k < channels; ++k) {
        const float g = gradient[k], attribute2 = attributes[place2 + k];
        grad0 += g * (attributes[place0 + k] - attribute2);
        grad1 += g * (attributes[place1 + k] - attribute2);
        sums[place0 + k] += weight0 * g;
        sums[place1 + k] += weight1 * g;
        sums[place2 + k] += weight2 * g;
      }
    }
    problem.grad_barycentric[2 * pixel] = grad0;
    problem.grad_barycentric[2 * pixel + 1] = grad1;
  }
}

// body(std::integral_constant-like number of channels), the usual ones known to the compiler.
template <int Channels>
struct ChannelCount {
  static constexpr int value = Channels;
};

template <class Isa, class Body>
GPTFACE_INLINE void with_channels(int64_t channels, const Body& body) {
  switch (channels) {
    case 1: return body(ChannelCount<1>{});
    case 2: return body(ChannelCount<2>{});
    case 3: return body(ChannelCount<3>{});
    case 4: return body(ChannelCount<4>{});
    default: return body(ChannelCount<0>{});
  }
}

// Pixels [begin, end), counted over the batch, of one picture.
template <class Isa>
void interpolate_pixels(const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end) {
  with_channels<Isa>(problem.channels, [&](auto count) __attribute__((always_inline)) {
    interpolate_some<Isa, decltype(count)::value>(problem, sample, begin, end);
  });
}

// Also adds to `sums (vertices, channels)`, pixel by pixel.
template <class Isa>
void interpolation_gradient_pixels(
    const InterpolationProblem& problem, int64_t sample, int64_t begin, int64_t end, float* sums) {
  with_channels<Isa>(problem.channels, [&](auto count) __attribute__((always_inline)) {
    interpolation_gradient_some<Isa, decltype(count)::value>(problem, sample, begin, end, sums);
  });
}

}  // namespace gptface::detail
