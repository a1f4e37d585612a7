// The kernels for machines with AVX2 and FMA: setup.py compiles this file, and no other,
// with the flags for them.

#include "kernels_impl.h"

namespace mmdet_lite {

template <typename T>
Kernels<T> Avx2Kernels() {
  return MakeKernels<T>();
}

template Kernels<float> Avx2Kernels();
template Kernels<double> Avx2Kernels();

}  // namespace mmdet_lite
