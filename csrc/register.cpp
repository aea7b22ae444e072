// Every dispatch entry of the native library, in one file. It is compiled twice: into the CPU library, and with
// GPTFACE_CUDA into the CUDA library. The schemas are defined in Python (gptface/ops/*/library.py), so that an operator
// has one even where nothing was compiled.
#include <torch/csrc/stable/library.h>

#include "operators/raster.h"
#include "operators/span_mask.h"
#ifdef GPTFACE_CUDA
#include "operators/vq_short.h"
#else
#include "operators/attention.h"
#include "operators/instruction_set.h"
#include "operators/vq.h"
#endif

#ifdef GPTFACE_CUDA
STABLE_TORCH_LIBRARY_IMPL(gptface, CUDA, library) {
#else
STABLE_TORCH_LIBRARY_IMPL(gptface, CPU, library) {
#endif
  library.impl("sample_span_mask", TORCH_BOX(&gptface::operators::sample_span_mask));
  library.impl("corrupt_tokens", TORCH_BOX(&gptface::operators::corrupt_tokens));
  library.impl("mask_tokens", TORCH_BOX(&gptface::operators::mask_tokens));
  library.impl("rasterize_kernel", TORCH_BOX(&gptface::operators::rasterize_kernel));
  library.impl("interpolate_kernel", TORCH_BOX(&gptface::operators::interpolate_kernel));
#ifdef GPTFACE_CUDA
  library.impl("raster_corner_gradients", TORCH_BOX(&gptface::operators::raster_corner_gradients));
  library.impl("vq_lookup_short", TORCH_BOX(&gptface::operators::vq_lookup_short));
#else
  library.impl("antialias_kernel", TORCH_BOX(&gptface::operators::antialias_kernel));
  library.impl("antialias_backward_kernel", TORCH_BOX(&gptface::operators::antialias_backward_kernel));
  library.impl("masked_attention", TORCH_BOX(&gptface::operators::masked_attention));
  library.impl("masked_attention_forward", TORCH_BOX(&gptface::operators::masked_attention_forward));
  library.impl("masked_attention_backward", TORCH_BOX(&gptface::operators::masked_attention_backward));
  library.impl("rasterize_backward_kernel", TORCH_BOX(&gptface::operators::rasterize_backward_kernel));
  library.impl("interpolate_backward_kernel", TORCH_BOX(&gptface::operators::interpolate_backward_kernel));
  library.impl("vq_lookup_kernel", TORCH_BOX(&gptface::operators::vq_lookup_kernel));
  library.impl("vq_lookup_packed_kernel", TORCH_BOX(&gptface::operators::vq_lookup_packed_kernel));
  library.impl("vq_pack_kernel", TORCH_BOX(&gptface::operators::vq_pack_kernel));
#endif
}

#ifndef GPTFACE_CUDA
// It has no tensor by which to dispatch.
STABLE_TORCH_LIBRARY_IMPL(gptface, CompositeExplicitAutograd, library) {
  library.impl("cpu_instruction_set", TORCH_BOX(&gptface::operators::cpu_instruction_set));
  library.impl("cpu_amx_missing", TORCH_BOX(&gptface::operators::cpu_amx_missing));
}
#endif
