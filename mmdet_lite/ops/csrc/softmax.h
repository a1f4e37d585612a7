// The attention of one query: the softmax of its logits, and sums weighted by it.

#ifndef MMDET_LITE_OPS_CSRC_SOFTMAX_H_
#define MMDET_LITE_OPS_CSRC_SOFTMAX_H_

#include <math.h>

#include "memory.h"
#include "vectors.h"

namespace mmdet_lite {
namespace {

// Adds predicted logits, which are not to be scaled, to some that are. Not inlined, so
// that the kernels without them are compiled as if there were none.
template <typename T>
__attribute__((noinline)) void AddPredicted(const T* predicted, T scale, int64_t size,
                                            T* logits) {
  const T factor = 1 / scale;
  MMDET_LITE_INDEPENDENT
  for (int64_t i = 0; i < size; ++i) logits[i] += factor * predicted[i];
}

// The softmax of scaled logits, in two parts: writes the exponentials and returns what
// normalises them, one over their sum. Both arrays have room for whole vectors.
template <typename T>
inline T ExpOfLogits(T* logits, T scale, int64_t size, T* exponentials) {
  const int64_t padded = RoundUp(size, kPointsMultiple);
  for (int64_t i = size; i < padded; ++i) logits[i] = -INFINITY;
  Vector<T> largest = Vector<T>{} - INFINITY;
  for (int64_t i = 0; i < padded; i += kLanes<T>) {
    const Vector<T> vector = Load(logits + i);
    largest = vector > largest ? vector : largest;
  }
  const T top = MaxLane(largest);
  Vector<T> sums = {};
  for (int64_t i = 0; i < padded; i += kLanes<T>) {
    const Vector<T> vector = ExpOfNegative((Load(logits + i) - top) * scale);
    Store(exponentials + i, vector);
    sums += vector;
  }
  return 1 / SumLanes(sums);
}

// Writes the gradients of predicted logits: softmax's derivative, given the mean of the
// weights' gradients by the weights.
template <typename T>
__attribute__((noinline)) void DifferentiateSoftmax(const T* weights,
                                                    const T* grad_weights, T mean,
                                                    int64_t size, T* grad_predicted) {
  MMDET_LITE_INDEPENDENT
  for (int64_t i = 0; i < size; ++i) {
    grad_predicted[i] = weights[i] * (grad_weights[i] - mean);
  }
}

// Writes the sum of rows times their weights, times a factor.
template <typename T>
inline void WeightedSum(const T* weights, const T* rows, int64_t size, int64_t vectors,
                        T factor, T* sum) {
  const int64_t dims = vectors * kLanes<T>;
  for (int64_t d = 0; d < dims; d += kLanes<T>) {
    // Two sums, because an addition waits for the one before it.
    Vector<T> even = {};
    Vector<T> odd = {};
    int64_t i = 0;
    for (; i + 1 < size; i += 2) {
      even += weights[i] * Load(rows + i * dims + d);
      odd += weights[i + 1] * Load(rows + (i + 1) * dims + d);
    }
    if (i < size) even += weights[i] * Load(rows + i * dims + d);
    Store(sum + d, (even + odd) * factor);
  }
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_SOFTMAX_H_
