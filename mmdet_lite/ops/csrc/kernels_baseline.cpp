// The kernels for every machine: compiled without flags for an instruction set.

#include "kernels_impl.h"

namespace mmdet_lite {

template <typename T>
Kernels<T> BaselineKernels(int64_t head_dims) {
  return MakeKernels<T>(head_dims);
}

template Kernels<float> BaselineKernels(int64_t);
template Kernels<double> BaselineKernels(int64_t);

}  // namespace mmdet_lite
