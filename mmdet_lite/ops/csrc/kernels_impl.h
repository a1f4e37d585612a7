// The kernels, to be included by one file for each instruction set.
//
// Everything is in an unnamed namespace: were it shared between the files, the linker
// would keep one copy, perhaps that of an instruction set that the machine lacks. For
// the same reason nothing of the C++ library's templates is used.

#ifndef MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_
#define MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

namespace mmdet_lite {
namespace {

// Eight floats or four doubles: a register of AVX2, two of SSE or NEON.
constexpr int64_t kVectorBytes = 32;

template <typename T>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(T));

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
  // Rows of a tensor are aligned to their elements only.
  typedef T Unaligned
      __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};

template <typename T>
using Vector = typename VectorOf<T>::Type;

template <typename T>
inline Vector<T> Load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T>::Unaligned*>(from);
}

template <typename T>
inline void Store(T* to, Vector<T> vector) {
  *reinterpret_cast<typename VectorOf<T>::Unaligned*>(to) = vector;
}

template <typename T>
inline T SumLanes(Vector<T> vector) {
  T sum = 0;
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) sum += vector[lane];
  return sum;
}

inline int64_t RoundUp(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// An aligned array of zeros.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) {
    const size_t bytes = RoundUp(size * static_cast<int64_t>(sizeof(T)), 64) + 64;
    if (posix_memalign(reinterpret_cast<void**>(&data_), 64, bytes) != 0) abort();
    memset(data_, 0, bytes);
  }
  ~Buffer() { free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
};

inline float Exp(float x) { return expf(x); }
inline double Exp(double x) { return exp(x); }
inline float Floor(float x) { return floorf(x); }
inline double Floor(double x) { return floor(x); }

// Where a run of points falls: the pixel above and left of each, and the bilinear
// weights of the four pixels around it.
template <typename T>
class Points {
 public:
  explicit Points(int64_t size)
      : size_(size),
        padded_(RoundUp(size, 16)),
        numbers_(8 * padded_),
        indices_(4 * padded_) {}

  // Says which level point `index` belongs to.
  void SetLevel(int64_t index, const Level& level) {
    Widths()[index] = static_cast<T>(level.width);
    Heights()[index] = static_cast<T>(level.height);
    indices_.get()[2 * padded_ + index] = level.width;
    indices_.get()[3 * padded_ + index] = level.height;
  }

  // Finds the pixels of `size` locations (x, y).
  void Locate(const T* __restrict locations) {
    const T* __restrict widths = Widths();
    const T* __restrict heights = Heights();
    T* __restrict right = numbers_.get() + 2 * padded_;
    T* __restrict below = numbers_.get() + 3 * padded_;
    int32_t* __restrict columns = indices_.get();
    int32_t* __restrict rows = indices_.get() + padded_;
    for (int64_t i = 0; i < size_; ++i) {
      T x = locations[2 * i] * widths[i] - T(0.5);
      T y = locations[2 * i + 1] * heights[i] - T(0.5);
      // A point outside goes where all its pixels are outside and an integer can hold
      // it. The comparison is false for NaN: such a point counts as outside.
      x = (x > T(-1) && x < widths[i]) ? x : T(-2);
      y = (y > T(-1) && y < heights[i]) ? y : T(-2);
      const T column = Floor(x);
      const T row = Floor(y);
      right[i] = x - column;
      below[i] = y - row;
      columns[i] = static_cast<int32_t>(column);
      rows[i] = static_cast<int32_t>(row);
    }
    T* __restrict weights = numbers_.get() + 4 * padded_;
    for (int64_t i = 0; i < size_; ++i) {
      weights[4 * i] = (1 - right[i]) * (1 - below[i]);
      weights[4 * i + 1] = right[i] * (1 - below[i]);
      weights[4 * i + 2] = (1 - right[i]) * below[i];
      weights[4 * i + 3] = right[i] * below[i];
    }
  }

  int64_t Size() const { return size_; }
  T Width(int64_t index) const { return numbers_.get()[index]; }
  T Height(int64_t index) const { return numbers_.get()[padded_ + index]; }
  T Right(int64_t index) const { return numbers_.get()[2 * padded_ + index]; }
  T Below(int64_t index) const { return numbers_.get()[3 * padded_ + index]; }

  // Bilinear weights of the pixels: above left, above right, below left, below right.
  const T* Weights(int64_t index) const {
    return numbers_.get() + 4 * padded_ + 4 * index;
  }

  // The four pixels in the order of Weights. `level` is the row of the level's first
  // token, `stride` leads from token to token, `outside` stands for pixels outside.
  template <typename Row>
  inline void Corners(int64_t index, Row* level, int64_t stride, Row* outside,
                      Row** corners) const {
    const int64_t column = indices_.get()[index];
    const int64_t row = indices_.get()[padded_ + index];
    const int64_t width = indices_.get()[2 * padded_ + index];
    const int64_t height = indices_.get()[3 * padded_ + index];
    Row* first = level + (row * width + column) * stride;
    if (column >= 0 && column + 1 < width && row >= 0 && row + 1 < height) {
      corners[0] = first;
      corners[1] = first + stride;
      corners[2] = first + width * stride;
      corners[3] = first + (width + 1) * stride;
      return;
    }
    for (int64_t corner = 0; corner < 4; ++corner) {
      const int64_t x = column + corner % 2;
      const int64_t y = row + corner / 2;
      const bool inside = x >= 0 && x < width && y >= 0 && y < height;
      corners[corner] = inside ? level + (y * width + x) * stride : outside;
    }
  }

 private:
  T* Widths() const { return numbers_.get(); }
  T* Heights() const { return numbers_.get() + padded_; }

  int64_t size_;
  int64_t padded_;
  // Widths, heights, distances from the pixels on the left and above; then weights.
  Buffer<T> numbers_;
  // Columns and rows of the pixels above and left; then widths and heights.
  Buffer<int32_t> indices_;
};

// The points of one query and head, level by level.
template <typename T>
inline void SetLevels(const Inputs<T>& inputs, Points<T>* points) {
  const Sizes& sizes = inputs.sizes;
  for (int64_t i = 0; i < points->Size(); ++i) {
    points->SetLevel(i, inputs.levels[i / sizes.num_points]);
  }
}

// Turns logits into weights that sum to 1.
template <typename T>
inline void Softmax(const T* __restrict logits, T* __restrict weights, int64_t size) {
  T largest = logits[0];
  for (int64_t i = 1; i < size; ++i) {
    largest = logits[i] > largest ? logits[i] : largest;
  }
  T sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    weights[i] = Exp(logits[i] - largest);
    sum += weights[i];
  }
  const T scale = 1 / sum;
  for (int64_t i = 0; i < size; ++i) weights[i] *= scale;
}

// A head's dimensions as vectors. kVectors is their number where it is known at compile
// time, so that sums stay in registers, or 0.
template <typename T, int kVectors>
inline int64_t NumVectors(const Sizes& sizes) {
  return kVectors > 0 ? kVectors : sizes.head_dims / kLanes<T>;
}

template <typename T, int kVectors>
void ForwardRange(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t stride = sizes.num_heads * dims;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  const bool key_aware = inputs.query != nullptr;
  const T* rows_of_keys = inputs.key != nullptr ? inputs.key : inputs.value;

  Points<T> points(num_samples);
  SetLevels(inputs, &points);
  Buffer<T> outside(dims);
  Buffer<T> values(num_samples * dims);
  Buffer<T> logits(num_samples);
  Buffer<T> softmax(num_samples);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch_offset = item / sizes.num_queries * sizes.num_tokens * stride;
    for (int64_t head = 0; head < sizes.num_heads; ++head) {
      const int64_t row = item * sizes.num_heads + head;
      const int64_t head_offset = batch_offset + head * dims;
      points.Locate(inputs.locations + row * num_samples * 2);
      const T* query = key_aware ? inputs.query + row * dims : nullptr;

      for (int64_t i = 0; i < num_samples; ++i) {
        const int64_t level_offset =
            head_offset + inputs.levels[i / sizes.num_points].start * stride;
        const T* weights = points.Weights(i);
        if (key_aware) {
          points.Corners(i, rows_of_keys + level_offset, stride,
                         static_cast<const T*>(outside.get()), corners);
          Vector<T> dot = {};
          for (int64_t v = 0; v < vectors; ++v) {
            const int64_t d = v * kLanes<T>;
            Vector<T> sample = weights[0] * Load(corners[0] + d) +
                               weights[1] * Load(corners[1] + d) +
                               weights[2] * Load(corners[2] + d) +
                               weights[3] * Load(corners[3] + d);
            Store(values.get() + i * dims + d, sample);
            dot += sample * Load(query + d);
          }
          logits.get()[i] = SumLanes<T>(dot) * inputs.logit_scale;
        }
        if (!key_aware || inputs.key != nullptr) {
          points.Corners(i, inputs.value + level_offset, stride,
                         static_cast<const T*>(outside.get()), corners);
          for (int64_t v = 0; v < vectors; ++v) {
            const int64_t d = v * kLanes<T>;
            Vector<T> sample = weights[0] * Load(corners[0] + d) +
                               weights[1] * Load(corners[1] + d) +
                               weights[2] * Load(corners[2] + d) +
                               weights[3] * Load(corners[3] + d);
            Store(values.get() + i * dims + d, sample);
          }
        }
      }

      const T* weights = softmax.get();
      if (key_aware) {
        Softmax(logits.get(), softmax.get(), num_samples);
      } else {
        weights = inputs.attention_weights + row * num_samples;
      }
      for (int64_t v = 0; v < vectors; ++v) {
        const int64_t d = v * kLanes<T>;
        Vector<T> sum = {};
        for (int64_t i = 0; i < num_samples; ++i) {
          sum += weights[i] * Load(values.get() + i * dims + d);
        }
        Store(output + row * dims + d, sum);
      }
    }
  }
}

// The products of one point's four pixels with a row.
template <typename T>
inline void Dots(const T* const* corners, const T* row, int64_t vectors, T* dots) {
  Vector<T> sums[4] = {};
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t d = v * kLanes<T>;
    const Vector<T> factor = Load(row + d);
    for (int corner = 0; corner < 4; ++corner) {
      sums[corner] += factor * Load(corners[corner] + d);
    }
  }
  for (int corner = 0; corner < 4; ++corner) dots[corner] = SumLanes<T>(sums[corner]);
}

template <typename T>
inline T Interpolate(const T* weights, const T* corners) {
  return weights[0] * corners[0] + weights[1] * corners[1] + weights[2] * corners[2] +
         weights[3] * corners[3];
}

template <typename T, int kVectors>
void QueryBackwardRange(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                        int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t stride = sizes.num_heads * dims;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  const bool key_aware = inputs.query != nullptr;
  const T* rows_of_keys = inputs.key != nullptr ? inputs.key : inputs.value;

  Points<T> points(num_samples);
  SetLevels(inputs, &points);
  Buffer<T> outside(dims);
  Buffer<T> keys(num_samples * dims);
  Buffer<T> logits(num_samples);
  // Of each point's four pixels: value · incoming gradient, and key · query.
  Buffer<T> value_dots(4 * num_samples);
  Buffer<T> key_dots(4 * num_samples);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch_offset = item / sizes.num_queries * sizes.num_tokens * stride;
    for (int64_t head = 0; head < sizes.num_heads; ++head) {
      const int64_t row = item * sizes.num_heads + head;
      const int64_t head_offset = batch_offset + head * dims;
      points.Locate(inputs.locations + row * num_samples * 2);
      const T* grad_output = gradients.output + row * dims;
      T* grad_weights = gradients.logits + row * num_samples;
      const T* attention_weights =
          key_aware ? gradients.attention_weights + row * num_samples
                    : inputs.attention_weights + row * num_samples;

      for (int64_t i = 0; i < num_samples; ++i) {
        const int64_t level_offset =
            head_offset + inputs.levels[i / sizes.num_points].start * stride;
        const T* weights = points.Weights(i);
        points.Corners(i, inputs.value + level_offset, stride,
                       static_cast<const T*>(outside.get()), corners);
        Dots(corners, grad_output, vectors, value_dots.get() + 4 * i);
        grad_weights[i] = Interpolate(weights, value_dots.get() + 4 * i);
        if (key_aware) {
          if (inputs.key != nullptr) {
            points.Corners(i, rows_of_keys + level_offset, stride,
                           static_cast<const T*>(outside.get()), corners);
          }
          Dots(corners, inputs.query + row * dims, vectors, key_dots.get() + 4 * i);
          logits.get()[i] =
              Interpolate(weights, key_dots.get() + 4 * i) * inputs.logit_scale;
          for (int64_t v = 0; v < vectors; ++v) {
            const int64_t d = v * kLanes<T>;
            Store(keys.get() + i * dims + d, weights[0] * Load(corners[0] + d) +
                                                 weights[1] * Load(corners[1] + d) +
                                                 weights[2] * Load(corners[2] + d) +
                                                 weights[3] * Load(corners[3] + d));
          }
        }
      }

      if (key_aware) {
        T* softmax = gradients.attention_weights + row * num_samples;
        Softmax(logits.get(), softmax, num_samples);
        T mean = 0;
        for (int64_t i = 0; i < num_samples; ++i) mean += softmax[i] * grad_weights[i];
        for (int64_t i = 0; i < num_samples; ++i) {
          grad_weights[i] = softmax[i] * (grad_weights[i] - mean) * inputs.logit_scale;
        }
        for (int64_t v = 0; v < vectors; ++v) {
          const int64_t d = v * kLanes<T>;
          Vector<T> sum = {};
          for (int64_t i = 0; i < num_samples; ++i) {
            sum += grad_weights[i] * Load(keys.get() + i * dims + d);
          }
          Store(gradients.query + row * dims + d, sum);
        }
      }

      T* grad_locations = gradients.locations + row * num_samples * 2;
      for (int64_t i = 0; i < num_samples; ++i) {
        T dots[4];
        for (int corner = 0; corner < 4; ++corner) {
          dots[corner] = attention_weights[i] * value_dots.get()[4 * i + corner];
          if (key_aware) dots[corner] += grad_weights[i] * key_dots.get()[4 * i + corner];
        }
        const T right = points.Right(i);
        const T below = points.Below(i);
        grad_locations[2 * i] = points.Width(i) * ((1 - below) * (dots[1] - dots[0]) +
                                                   below * (dots[3] - dots[2]));
        grad_locations[2 * i + 1] =
            points.Height(i) *
            ((1 - right) * (dots[2] - dots[0]) + right * (dots[3] - dots[1]));
      }
    }
  }
}

// An item is one level of one head: its owner alone adds to it, in the order of the
// queries, which makes the sum the same for any number of threads.
template <typename T, int kVectors>
void ValueBackwardRange(const Inputs<T>& inputs, const Scattered<T>& first,
                        const Scattered<T>& second, T* grad_value, int64_t begin,
                        int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t stride = sizes.num_heads * dims;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;

  int64_t most_tokens = 0;
  for (int64_t l = 0; l < sizes.num_levels; ++l) {
    const int64_t tokens =
        static_cast<int64_t>(inputs.levels[l].height) * inputs.levels[l].width;
    most_tokens = tokens > most_tokens ? tokens : most_tokens;
  }
  // The level's gradient with tokens side by side, and a row for pixels outside.
  Buffer<T> sums((most_tokens + 1) * dims);
  T* outside = sums.get() + most_tokens * dims;
  Buffer<T> contribution(dims);
  Points<T> points(sizes.num_points);
  T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch = item / (sizes.num_heads * sizes.num_levels);
    const int64_t head = item / sizes.num_levels % sizes.num_heads;
    const int64_t level_index = item % sizes.num_levels;
    const Level& level = inputs.levels[level_index];
    const int64_t tokens = static_cast<int64_t>(level.height) * level.width;
    for (int64_t i = 0; i < sizes.num_points; ++i) points.SetLevel(i, level);
    memset(sums.get(), 0, tokens * dims * sizeof(T));

    for (int64_t query = 0; query < sizes.num_queries; ++query) {
      const int64_t row =
          (batch * sizes.num_queries + query) * sizes.num_heads + head;
      const int64_t sample = row * num_samples + level_index * sizes.num_points;
      points.Locate(inputs.locations + sample * 2);
      for (int64_t i = 0; i < sizes.num_points; ++i) {
        const T* weights = points.Weights(i);
        points.Corners(i, sums.get(), dims, outside, corners);
        for (int64_t v = 0; v < vectors; ++v) {
          const int64_t d = v * kLanes<T>;
          Vector<T> sum =
              first.coefficients[sample + i] * Load(first.rows + row * dims + d);
          if (second.coefficients != nullptr) {
            sum += second.coefficients[sample + i] * Load(second.rows + row * dims + d);
          }
          for (int corner = 0; corner < 4; ++corner) {
            T* to = corners[corner] + d;
            Store(to, Load<T>(to) + weights[corner] * sum);
          }
        }
      }
    }

    T* to = grad_value + (batch * sizes.num_tokens + level.start) * stride + head * dims;
    for (int64_t token = 0; token < tokens; ++token) {
      memcpy(to + token * stride, sums.get() + token * dims, dims * sizeof(T));
    }
  }
}

template <typename T>
void Forward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  switch (inputs.sizes.head_dims / kLanes<T>) {
    case 4:
      return ForwardRange<T, 4>(inputs, output, begin, end);
    default:
      return ForwardRange<T, 0>(inputs, output, begin, end);
  }
}

template <typename T>
void QueryBackward(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                   int64_t begin, int64_t end) {
  switch (inputs.sizes.head_dims / kLanes<T>) {
    case 4:
      return QueryBackwardRange<T, 4>(inputs, gradients, begin, end);
    default:
      return QueryBackwardRange<T, 0>(inputs, gradients, begin, end);
  }
}

template <typename T>
void ValueBackward(const Inputs<T>& inputs, const Scattered<T>& first,
                   const Scattered<T>& second, T* grad_value, int64_t begin,
                   int64_t end) {
  switch (inputs.sizes.head_dims / kLanes<T>) {
    case 4:
      return ValueBackwardRange<T, 4>(inputs, first, second, grad_value, begin, end);
    default:
      return ValueBackwardRange<T, 0>(inputs, first, second, grad_value, begin, end);
  }
}

template <typename T>
Kernels<T> MakeKernels() {
  return {Forward<T>, QueryBackward<T>, ValueBackward<T>};
}

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_
