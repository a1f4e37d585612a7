// The kernels for machines with AVX2 and FMA: setup.py compiles this file, and no
// other, with the flags for them.

#include "kernels_impl.h"

namespace mmdet_lite {

template <typename T>
Kernels<T> Avx2Kernels(int64_t head_dims) {
  return MakeKernels<T>(head_dims);
}

template Kernels<float> Avx2Kernels(int64_t);
template Kernels<double> Avx2Kernels(int64_t);

}  // namespace mmdet_lite
