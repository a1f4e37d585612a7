// The kernels, to be included by one file for each instruction set.
//
// Everything here and in the headers that this one includes is in an unnamed namespace:
// were it shared between the files, the linker would keep one copy, perhaps that of an
// instruction set that the machine lacks. For the same reason no template of the C++
// library is used.

#ifndef MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_
#define MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_

#include "forward.h"
#include "kernels.h"
#include "query_backward.h"
#include "token_backward.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

// The choices that are made at compile time: what the inputs are, for heads of any size
// or of one for which the kernels are compiled especially.
template <typename T, int kVectors>
struct KernelsFor {
  static void Forward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
    switch (inputs.attention) {
      case Attention::kPlain:
        return PlainForward<T, kVectors>(inputs, output, begin, end);
      case Attention::kKeyIsValue:
        return KeyAwareForward<T, kVectors, false>(inputs, output, begin, end);
      case Attention::kSeparateKey:
        return KeyAwareForward<T, kVectors, true>(inputs, output, begin, end);
    }
  }

  static void QueryBackward(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                            int64_t begin, int64_t end) {
    switch (inputs.attention) {
      case Attention::kPlain:
        return QueryBackwardRange<T, kVectors, Attention::kPlain>(inputs, gradients,
                                                                  begin, end);
      case Attention::kKeyIsValue:
        return QueryBackwardRange<T, kVectors, Attention::kKeyIsValue>(
            inputs, gradients, begin, end);
      case Attention::kSeparateKey:
        return QueryBackwardRange<T, kVectors, Attention::kSeparateKey>(
            inputs, gradients, begin, end);
    }
  }

  static void TokenBackward(const Inputs<T>& inputs, const T* points_by_level,
                            const T* grad_output, const T* query, T* grad_tokens,
                            int64_t begin, int64_t end) {
    if (query == nullptr) {
      TokenBackwardRange<T, kVectors, true, false>(inputs, points_by_level, grad_output,
                                                   query, grad_tokens, begin, end);
    } else if (grad_output == nullptr) {
      TokenBackwardRange<T, kVectors, false, true>(inputs, points_by_level, grad_output,
                                                   query, grad_tokens, begin, end);
    } else {
      TokenBackwardRange<T, kVectors, true, true>(inputs, points_by_level, grad_output,
                                                  query, grad_tokens, begin, end);
    }
  }

  static constexpr Kernels<T> kAll = {Forward, QueryBackward, TokenBackward};
};

template <typename T>
Kernels<T> MakeKernels(int64_t head_dims) {
  // Double precision checks the rest and need not be fast.
  if constexpr (sizeof(T) == sizeof(float)) {
    switch (head_dims) {
      case 2 * kLanes<T>:
        return KernelsFor<T, 2>::kAll;
      case 4 * kLanes<T>:
        return KernelsFor<T, 4>::kAll;
      case 8 * kLanes<T>:
        return KernelsFor<T, 8>::kAll;
    }
  }
  return KernelsFor<T, 0>::kAll;
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_
