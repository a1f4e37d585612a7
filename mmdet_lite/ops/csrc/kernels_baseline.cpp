// The kernels for every machine: compiled without flags for an instruction set.

#include "kernels_impl.h"

namespace mmdet_lite {

template <typename T>
Kernels<T> BaselineKernels() {
  return MakeKernels<T>();
}

template Kernels<float> BaselineKernels();
template Kernels<double> BaselineKernels();

}  // namespace mmdet_lite
