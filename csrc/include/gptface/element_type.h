// The dtypes that CPU kernels read.
#pragma once

namespace gptface {

enum class ElementType { float32, bfloat16, float16 };

}  // namespace gptface
