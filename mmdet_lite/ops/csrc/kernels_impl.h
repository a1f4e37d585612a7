// The kernels, to be included by one file for each instruction set.
//
// Everything is in an unnamed namespace: were it shared between the files, the linker
// would keep one copy, perhaps that of an instruction set that the machine lacks. For
// the same reason no template of the C++ library is used.

#ifndef MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_
#define MMDET_LITE_OPS_CSRC_KERNELS_IMPL_H_

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "kernels.h"

// Before a loop whose iterations touch different memory.
#define MMDET_LITE_INDEPENDENT _Pragma("GCC ivdep")

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

inline float SumLanes(Vector<float> v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

inline double SumLanes(Vector<double> v) { return (v[0] + v[2]) + (v[1] + v[3]); }

template <typename T>
inline T Max(T first, T second) {
  return first > second ? first : second;
}

inline float MaxLane(Vector<float> v) {
  return Max(Max(Max(v[0], v[4]), Max(v[1], v[5])),
             Max(Max(v[2], v[6]), Max(v[3], v[7])));
}

inline double MaxLane(Vector<double> v) {
  return Max(Max(v[0], v[2]), Max(v[1], v[3]));
}

// The sums of the lanes of eight vectors.
template <typename T>
inline void SumLanesOf8(const Vector<T>* vectors, T* sums) {
  for (int64_t i = 0; i < 8; ++i) sums[i] = SumLanes(vectors[i]);
}

#ifdef __AVX2__
template <>
inline void SumLanesOf8<float>(const Vector<float>* vectors, float* sums) {
  const __m256 first = _mm256_hadd_ps(_mm256_hadd_ps(vectors[0], vectors[1]),
                                      _mm256_hadd_ps(vectors[2], vectors[3]));
  const __m256 second = _mm256_hadd_ps(_mm256_hadd_ps(vectors[4], vectors[5]),
                                       _mm256_hadd_ps(vectors[6], vectors[7]));
  Store<float>(sums, _mm256_permute2f128_ps(first, second, 0x20) +
                         _mm256_permute2f128_ps(first, second, 0x31));
}
#endif

// The exponential of numbers up to 0.
inline Vector<double> ExpOfNegative(Vector<double> x) {
  for (int64_t lane = 0; lane < kLanes<double>; ++lane) x[lane] = exp(x[lane]);
  return x;
}

inline Vector<float> ExpOfNegative(Vector<float> x) {
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Vector<float> lowest = Vector<float>{} - 87.0f;
  const Vector<float> clamped = x < lowest ? lowest : x;
  // Adding 1.5 * 2^23 leaves no bits for a fraction: this rounds to an integer, which
  // then stands in the lowest bits.
  const Vector<float> shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const Vector<float> power = shifted - 12582912.0f;
  // exp(x) = 2^power * exp(rest); ln 2 in two parts, the first short, to lose no bits.
  const Vector<float> rest = clamped - power * 0.693359375f + power * 2.12194440e-4f;
  // The polynomial of Cephes' expf.
  Vector<float> result = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * rest * rest + rest + 1.0f;
  result = (Vector<float>)((Bits)result + ((Bits)shifted << 23));
  return x == x ? result : x;
}

// Arrays over points go on to a multiple of this, and so does every loop over them:
// what one of them left out would keep the numbers of the query before, NaN among them.
constexpr int64_t kPointsMultiple = 8;

inline int64_t RoundUp(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// Has a range of memory brought to the cache. Rows of a head are too far apart for the
// machine to foresee them.
template <typename T>
inline void Prefetch(const T* from, int64_t size) {
  for (int64_t i = 0; i < size; i += 64 / static_cast<int64_t>(sizeof(T))) {
    __builtin_prefetch(from + i);
  }
}

// Copies few numbers: without a call for the four points, or their locations, that a
// level usually has.
template <typename T>
inline void CopyPoints(const T* from, int64_t size, T* to) {
  if (size == 4) {
    memcpy(to, from, 4 * sizeof(T));
  } else if (size == 8) {
    memcpy(to, from, 8 * sizeof(T));
  } else {
    memcpy(to, from, size * sizeof(T));
  }
}

// How many queries ahead to prefetch.
constexpr int64_t kPrefetchDistance = 4;

// An aligned array of zeros.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) {
    const size_t bytes = RoundUp(size * static_cast<int64_t>(sizeof(T)), 64) + 64;
    if (posix_memalign(reinterpret_cast<void**>(&data_), 64, bytes) != 0) {
      throw std::bad_alloc();
    }
    memset(data_, 0, bytes);
  }
  ~Buffer() { free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
};

// Without the C library's function, which the x86-64 baseline would call point by
// point.
template <typename T>
inline int32_t Floor(T x) {
  const int32_t truncated = static_cast<int32_t>(x);
  return truncated - (x < static_cast<T>(truncated));
}

template <typename T>
class SamplingPoints;

// What a loop over points reads of them, to be held in registers: the compiler has to
// assume that whatever it stores changes the object's members.
template <typename T>
struct SamplingPointsView {
  // The four pixels of a point in the order of the weights, counted from the first of
  // the tokens; `outside` stands for pixels outside.
  template <typename Row>
  inline void FindCorners(int64_t index, Row* tokens, Row* outside,
                          Row** corners) const;

  const SamplingPoints<T>* points;
  const int64_t* corner_offsets;
  const int64_t* row_strides;
  int64_t token_stride;
  const int32_t* all_inside;
  // Four for each point: above left, above right, below left, below right.
  const T* bilinear_weights;
};

// Where a run of points falls: the pixel above and left of each, and the bilinear
// weights of the four pixels around it.
template <typename T>
class SamplingPoints {
 public:
  explicit SamplingPoints(int64_t size)
      : size_(size),
        padded_(RoundUp(size, kPointsMultiple)),
        numbers_(10 * padded_),
        locations_(numbers_.get()),
        widths_(locations_ + 2 * padded_),
        heights_(widths_ + padded_),
        fractions_x_(heights_ + padded_),
        fractions_y_(fractions_x_ + padded_),
        bilinear_weights_(fractions_y_ + padded_),
        indices_(7 * padded_),
        num_columns_(indices_.get()),
        num_rows_(num_columns_ + padded_),
        level_starts_(num_rows_ + padded_),
        columns_(level_starts_ + padded_),
        rows_(columns_ + padded_),
        tokens_(rows_ + padded_),
        all_inside_(tokens_ + padded_),
        offsets_(2 * padded_),
        corner_offsets_(offsets_.get()),
        row_strides_(corner_offsets_ + padded_) {}

  // Says which level point `index` belongs to, the number of its first token, and how
  // far apart tokens are in memory.
  void SetLevel(int64_t index, const Level& level, int64_t start,
                int64_t token_stride) {
    widths_[index] = static_cast<T>(level.width);
    heights_[index] = static_cast<T>(level.height);
    num_columns_[index] = level.width;
    num_rows_[index] = level.height;
    level_starts_[index] = static_cast<int32_t>(start);
    row_strides_[index] = level.width * token_stride;
    token_stride_ = token_stride;
  }

  // Finds the pixels of the locations (x, y).
  void Locate(const T* from) {
    memcpy(locations_, from, 2 * size_ * sizeof(T));
    const T* __restrict locations = locations_;
    const T* __restrict widths = widths_;
    const T* __restrict heights = heights_;
    T* __restrict fractions_x = fractions_x_;
    T* __restrict fractions_y = fractions_y_;
    T* __restrict bilinear_weights = bilinear_weights_;
    const int32_t* __restrict num_columns = num_columns_;
    const int32_t* __restrict num_rows = num_rows_;
    const int32_t* __restrict level_starts = level_starts_;
    int32_t* __restrict columns = columns_;
    int32_t* __restrict rows = rows_;
    int32_t* __restrict tokens = tokens_;
    int32_t* __restrict all_inside = all_inside_;
    int64_t* __restrict corner_offsets = corner_offsets_;
    const int64_t token_stride = token_stride_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      T x = locations[2 * i] * widths[i] - T(0.5);
      T y = locations[2 * i + 1] * heights[i] - T(0.5);
      // A point outside goes where all its pixels are outside and an integer can hold
      // it. The comparison is false for NaN: such a point counts as outside.
      x = (x > T(-1)) & (x < widths[i]) ? x : T(-2);
      y = (y > T(-1)) & (y < heights[i]) ? y : T(-2);
      columns[i] = Floor(x);
      rows[i] = Floor(y);
      fractions_x[i] = x - static_cast<T>(columns[i]);
      fractions_y[i] = y - static_cast<T>(rows[i]);
    }
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      tokens[i] = level_starts[i] + rows[i] * num_columns[i] + columns[i];
      all_inside[i] = (columns[i] >= 0) & (columns[i] + 1 < num_columns[i]) &
                      (rows[i] >= 0) & (rows[i] + 1 < num_rows[i]);
    }
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) corner_offsets[i] = tokens[i] * token_stride;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      bilinear_weights[4 * i] = (1 - fractions_x[i]) * (1 - fractions_y[i]);
      bilinear_weights[4 * i + 1] = fractions_x[i] * (1 - fractions_y[i]);
      bilinear_weights[4 * i + 2] = (1 - fractions_x[i]) * fractions_y[i];
      bilinear_weights[4 * i + 3] = fractions_x[i] * fractions_y[i];
    }
  }

  int64_t size() const { return size_; }
  const T* widths() const { return widths_; }
  const T* heights() const { return heights_; }

  // How far from the pixel on the left to that on the right a point is, and from the
  // one above to the one below.
  const T* fractions_x() const { return fractions_x_; }
  const T* fractions_y() const { return fractions_y_; }

  // Which of a point's pixels are inside the map: a bit for each, in the order of the
  // weights.
  __attribute__((noinline)) int PixelsInside(int64_t index) const {
    const int64_t width = num_columns_[index];
    const int64_t height = num_rows_[index];
    int inside = 0;
    for (int corner = 0; corner < 4; ++corner) {
      const int64_t x = columns_[index] + corner % 2;
      const int64_t y = rows_[index] + corner / 2;
      inside |= (x >= 0 && x < width && y >= 0 && y < height) << corner;
    }
    return inside;
  }

  SamplingPointsView<T> view() const {
    return {this,          corner_offsets_, row_strides_,
            token_stride_, all_inside_,     bilinear_weights_};
  }

 private:
  int64_t size_;
  // The size rounded up to whole vectors; every array goes on to there.
  int64_t padded_;
  int64_t token_stride_ = 0;

  // Parts of one buffer lie side by side in the cache.
  Buffer<T> numbers_;
  T* const locations_;  // (x, y) of each point
  T* const widths_;     // of the levels
  T* const heights_;
  T* const fractions_x_;
  T* const fractions_y_;
  T* const bilinear_weights_;  // four for each point

  Buffer<int32_t> indices_;
  int32_t* const num_columns_;  // the levels' widths and heights
  int32_t* const num_rows_;
  int32_t* const level_starts_;  // the levels' first tokens
  int32_t* const columns_;       // of the pixels above and left
  int32_t* const rows_;
  int32_t* const tokens_;
  int32_t* const all_inside_;  // whether a point's four pixels are

  Buffer<int64_t> offsets_;
  int64_t* const corner_offsets_;  // from the first token to the pixels above and left
  int64_t* const row_strides_;     // from a row of the map to the next
};

template <typename T>
template <typename Row>
inline void SamplingPointsView<T>::FindCorners(int64_t index, Row* tokens, Row* outside,
                                               Row** corners) const {
  Row* above = tokens + corner_offsets[index];
  Row* below = above + row_strides[index];
  corners[0] = above;
  corners[1] = above + token_stride;
  corners[2] = below;
  corners[3] = below + token_stride;
  if (__builtin_expect(all_inside[index], 1)) return;
  const int inside = points->PixelsInside(index);
  for (int corner = 0; corner < 4; ++corner) {
    if (!(inside >> corner & 1)) corners[corner] = outside;
  }
}

// The points of one query and head, level by level.
template <typename T>
inline void SetLevels(const Inputs<T>& inputs, SamplingPoints<T>* points) {
  for (int64_t i = 0; i < points->size(); ++i) {
    const Level& level = inputs.levels[i / inputs.sizes.num_points];
    points->SetLevel(i, level, level.start, inputs.token_stride);
  }
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

// kVectors is the number of vectors of a head's dimensions where it is known at compile
// time, so that sums stay in registers, or 0.
template <typename T, int kVectors>
inline int64_t NumVectors(const Sizes& sizes) {
  return kVectors > 0 ? kVectors : sizes.head_dims / kLanes<T>;
}

// The four pixels around a point and their bilinear weights. Copies, because a store to
// memory would have the compiler read them again.
template <typename T>
struct Pixels {
  Pixels(const T* const* corners, const T* weights)
      : corner0(corners[0]),
        corner1(corners[1]),
        corner2(corners[2]),
        corner3(corners[3]),
        weight0(weights[0]),
        weight1(weights[1]),
        weight2(weights[2]),
        weight3(weights[3]) {}

  // One vector of the sample.
  Vector<T> Sample(int64_t offset) const {
    return weight0 * Load(corner0 + offset) + weight1 * Load(corner1 + offset) +
           weight2 * Load(corner2 + offset) + weight3 * Load(corner3 + offset);
  }

  const T* corner0;
  const T* corner1;
  const T* corner2;
  const T* corner3;
  T weight0;
  T weight1;
  T weight2;
  T weight3;
};

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

// Items are numbered (B, M, Q), so that a thread stays in one head's tokens:
// neighbouring queries sample the same ones. Rows of queries are numbered (B, Q, M), as
// in memory.
inline int64_t RowOf(int64_t item, const Sizes& sizes) {
  const int64_t query = item % sizes.num_queries;
  const int64_t batch_and_head = item / sizes.num_queries;
  const int64_t batch = batch_and_head / sizes.num_heads;
  const int64_t head = batch_and_head % sizes.num_heads;
  return (batch * sizes.num_queries + query) * sizes.num_heads + head;
}

// Where an item's batch and head begin in value and key.
template <typename T>
inline int64_t HeadOffset(int64_t item, const Inputs<T>& inputs) {
  const int64_t batch_and_head = item / inputs.sizes.num_queries;
  return batch_and_head / inputs.sizes.num_heads * inputs.batch_stride +
         batch_and_head % inputs.sizes.num_heads * inputs.head_stride;
}

// Where an item's first level begins in QueryGradients::points_by_level.
inline int64_t PointsByLevelOffset(int64_t item, const Sizes& sizes) {
  const int64_t query = item % sizes.num_queries;
  const int64_t batch_and_head = item / sizes.num_queries;
  return (batch_and_head * sizes.num_levels * sizes.num_queries + query) * 4 *
         sizes.num_points;
}

// Prefetches what the operators read of a query and head, beside the sampled tokens.
template <typename T>
inline void PrefetchQuery(const Inputs<T>& inputs, const T* grad_output, int64_t row) {
  const Sizes& sizes = inputs.sizes;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  if (row >= sizes.batch * sizes.num_queries * sizes.num_heads) return;
  Prefetch(inputs.locations + row * num_samples * 2, num_samples * 2);
  if (inputs.query != nullptr) {
    Prefetch(inputs.query + row * sizes.head_dims, sizes.head_dims);
  } else {
    Prefetch(inputs.attention_weights + row * num_samples, num_samples);
  }
  if (grad_output != nullptr) {
    Prefetch(grad_output + row * sizes.head_dims, sizes.head_dims);
  }
}

template <typename T, int kVectors>
void PlainForward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;

  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sums(dims);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = RowOf(item, sizes);
    const T* const value = inputs.value + HeadOffset(item, inputs);
    const T* const attention_weights = inputs.attention_weights + row * num_samples;
    PrefetchQuery<T>(inputs, nullptr, row + kPrefetchDistance * sizes.num_heads);
    points.Locate(inputs.locations + row * num_samples * 2);
    Vector<T> registers[kVectors > 0 ? kVectors : 1] = {};
    memset(sums.get(), 0, dims * sizeof(T));
    for (int64_t i = 0; i < num_samples; ++i) {
      view.FindCorners(i, value, outside, corners);
      Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
      pixels.weight0 *= attention_weights[i];
      pixels.weight1 *= attention_weights[i];
      pixels.weight2 *= attention_weights[i];
      pixels.weight3 *= attention_weights[i];
      for (int64_t v = 0; v < vectors; ++v) {
        const Vector<T> sample = pixels.Sample(v * kLanes<T>);
        if constexpr (kVectors > 0) {
          registers[v] += sample;
        } else {
          T* sum = sums.get() + v * kLanes<T>;
          Store(sum, Load<T>(sum) + sample);
        }
      }
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t d = v * kLanes<T>;
      Store(output + row * dims + d,
            kVectors > 0 ? registers[kVectors > 0 ? v : 0] : Load<T>(sums.get() + d));
    }
  }
}

template <typename T, int kVectors, bool kSeparateKey>
void KeyAwareForward(const Inputs<T>& inputs, T* output, int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_samples = sizes.num_levels * sizes.num_points;
  const int64_t padded = RoundUp(num_samples, kPointsMultiple);

  // From logits to weights each step waits for the one before it: a block of queries
  // takes them together, so that the machine has others to work on.
  constexpr int64_t kBlock = 4;
  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sampled_values(kBlock * num_samples * dims);
  Buffer<Vector<T>> products_of_points(padded);
  Vector<T>* const products = products_of_points.get();
  Buffer<T> logits(kBlock * padded);
  Buffer<T> exponentials(kBlock * padded);
  T normalisers[kBlock];
  const T* corners[4];

  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t size = block + kBlock < end ? kBlock : end - block;
    for (int64_t member = 0; member < size; ++member) {
      const int64_t row = RowOf(block + member, sizes);
      const int64_t head_offset = HeadOffset(block + member, inputs);
      const T* const value = inputs.value + head_offset;
      const T* const key = kSeparateKey ? inputs.key + head_offset : nullptr;
      const T* const query = inputs.query + row * dims;
      T* values = sampled_values.get() + member * num_samples * dims;
      PrefetchQuery<T>(inputs, nullptr, row + kPrefetchDistance * sizes.num_heads);
      points.Locate(inputs.locations + row * num_samples * 2);
      for (int64_t i = 0; i < num_samples; ++i) {
        view.FindCorners(i, value, outside, corners);
        const Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
        Vector<T> product = {};
        for (int64_t d = 0; d < dims; d += kLanes<T>) {
          const Vector<T> sample = pixels.Sample(d);
          Store(values + i * dims + d, sample);
          if (!kSeparateKey) product += sample * Load(query + d);
        }
        if (kSeparateKey) {
          view.FindCorners(i, key, outside, corners);
          const Pixels<T> key_pixels(corners, view.bilinear_weights + 4 * i);
          for (int64_t d = 0; d < dims; d += kLanes<T>) {
            product += key_pixels.Sample(d) * Load(query + d);
          }
        }
        products[i] = product;
      }
      for (int64_t i = 0; i < padded; i += 8) {
        SumLanesOf8<T>(products + i, logits.get() + member * padded + i);
      }
    }
    for (int64_t member = 0; member < size; ++member) {
      normalisers[member] =
          ExpOfLogits(logits.get() + member * padded, inputs.logit_scale, num_samples,
                      exponentials.get() + member * padded);
    }
    for (int64_t member = 0; member < size; ++member) {
      WeightedSum(exponentials.get() + member * padded,
                  sampled_values.get() + member * num_samples * dims, num_samples,
                  vectors, normalisers[member],
                  output + RowOf(block + member, sizes) * dims);
    }
  }
}

// Adds one vector's products of the query with the keys of a point's four pixels.
template <typename T>
inline void AddKeyProducts(const Pixels<T>& pixels, const T* query, int64_t offset,
                           Vector<T>* products) {
  const Vector<T> part = Load(query + offset);
  products[4] += Load(pixels.corner0 + offset) * part;
  products[5] += Load(pixels.corner1 + offset) * part;
  products[6] += Load(pixels.corner2 + offset) * part;
  products[7] += Load(pixels.corner3 + offset) * part;
}

// What the backward pass of a query and head needs of the pixels around its points: the
// products of a pixel's value with the incoming gradient and of its key with the query.
// Interpolated at a point these are the gradient of the attention weight and the logit,
// before its scaling; their derivatives by x and y lead to the gradient of the
// location.
template <typename T>
class PixelProducts {
 public:
  explicit PixelProducts(int64_t size)
      : padded_(RoundUp(size, kPointsMultiple)),
        products_(8 * padded_),
        results_(6 * padded_),
        grad_weights_(results_.get()),
        logits_(grad_weights_ + padded_),
        grad_weights_by_x_(logits_ + padded_),
        grad_weights_by_y_(grad_weights_by_x_ + padded_),
        logits_by_x_(grad_weights_by_y_ + padded_),
        logits_by_y_(logits_by_x_ + padded_) {}

  // Where to write the products, eight for each point: of its four pixels' values, then
  // of their keys.
  T* products() const { return products_.get(); }

  // What Interpolate finds at the points.
  T* grad_weights() const { return grad_weights_; }
  T* logits() const { return logits_; }

  void Interpolate(const SamplingPoints<T>& points) const {
    const T* __restrict products_of_points = products_.get();
    const T* __restrict fractions_x = points.fractions_x();
    const T* __restrict fractions_y = points.fractions_y();
    T* __restrict grad_weights = grad_weights_;
    T* __restrict logits = logits_;
    T* __restrict grad_weights_by_x = grad_weights_by_x_;
    T* __restrict grad_weights_by_y = grad_weights_by_y_;
    T* __restrict logits_by_x = logits_by_x_;
    T* __restrict logits_by_y = logits_by_y_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      const T* product = products_of_points + 8 * i;
      const T value_above = product[1] - product[0];
      const T value_below = product[3] - product[2];
      const T value_left = product[2] - product[0];
      const T key_above = product[5] - product[4];
      const T key_below = product[7] - product[6];
      const T key_left = product[6] - product[4];
      grad_weights_by_x[i] = value_above + fractions_y[i] * (value_below - value_above);
      grad_weights_by_y[i] = value_left + fractions_x[i] * (value_below - value_above);
      logits_by_x[i] = key_above + fractions_y[i] * (key_below - key_above);
      logits_by_y[i] = key_left + fractions_x[i] * (key_below - key_above);
      grad_weights[i] = product[0] + fractions_y[i] * value_left +
                        fractions_x[i] * grad_weights_by_x[i];
      logits[i] =
          product[4] + fractions_y[i] * key_left + fractions_x[i] * logits_by_x[i];
    }
  }

  // Writes the gradients of the locations, given the gradients of the logits. All
  // arrays have room for whole vectors.
  void Differentiate(const SamplingPoints<T>& points,
                     const T* __restrict attention_weights,
                     const T* __restrict grad_logits,
                     T* __restrict grad_locations) const {
    const T* __restrict widths = points.widths();
    const T* __restrict heights = points.heights();
    const T* __restrict grad_weights_by_x = grad_weights_by_x_;
    const T* __restrict grad_weights_by_y = grad_weights_by_y_;
    const T* __restrict logits_by_x = logits_by_x_;
    const T* __restrict logits_by_y = logits_by_y_;
    MMDET_LITE_INDEPENDENT
    for (int64_t i = 0; i < padded_; ++i) {
      grad_locations[2 * i] = widths[i] * (attention_weights[i] * grad_weights_by_x[i] +
                                           grad_logits[i] * logits_by_x[i]);
      grad_locations[2 * i + 1] =
          heights[i] * (attention_weights[i] * grad_weights_by_y[i] +
                        grad_logits[i] * logits_by_y[i]);
    }
  }

 private:
  int64_t padded_;
  Buffer<T> products_;
  Buffer<T> results_;
  T* const grad_weights_;
  T* const logits_;
  T* const grad_weights_by_x_;
  T* const grad_weights_by_y_;
  T* const logits_by_x_;
  T* const logits_by_y_;
};

template <typename T, int kVectors, Attention kAttention>
void QueryBackwardRange(const Inputs<T>& inputs, const QueryGradients<T>& gradients,
                        int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t num_points = sizes.num_points;
  const int64_t num_samples = sizes.num_levels * num_points;
  const int64_t padded = RoundUp(num_samples, kPointsMultiple);

  SamplingPoints<T> points(num_samples);
  SetLevels(inputs, &points);
  const SamplingPointsView<T> view = points.view();
  PixelProducts<T> pixel_products(num_samples);
  T* const products_of_points = pixel_products.products();
  Buffer<T> outside_row(dims);
  const T* const outside = outside_row.get();
  Buffer<T> sampled_keys(num_samples * dims);
  T* const keys = sampled_keys.get();
  Buffer<T> attention_weights(padded);
  Buffer<T> grad_logits(padded);
  Buffer<T> grad_locations(2 * padded);
  const T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = RowOf(item, sizes);
    const int64_t head_offset = HeadOffset(item, inputs);
    const T* const value = inputs.value + head_offset;
    const T* const key =
        kAttention == Attention::kSeparateKey ? inputs.key + head_offset : nullptr;
    const T* const grad_output = gradients.output + row * dims;
    const T* const query =
        kAttention == Attention::kPlain ? nullptr : inputs.query + row * dims;
    PrefetchQuery(inputs, gradients.output, row + kPrefetchDistance * sizes.num_heads);
    points.Locate(inputs.locations + row * num_samples * 2);

    for (int64_t i = 0; i < num_samples; ++i) {
      Vector<T> products[8] = {};
      view.FindCorners(i, value, outside, corners);
      const Pixels<T> pixels(corners, view.bilinear_weights + 4 * i);
      for (int64_t d = 0; d < dims; d += kLanes<T>) {
        const Vector<T> part = Load(grad_output + d);
        products[0] += Load(pixels.corner0 + d) * part;
        products[1] += Load(pixels.corner1 + d) * part;
        products[2] += Load(pixels.corner2 + d) * part;
        products[3] += Load(pixels.corner3 + d) * part;
        if constexpr (kAttention == Attention::kKeyIsValue) {
          AddKeyProducts(pixels, query, d, products);
          Store(keys + i * dims + d, pixels.Sample(d));
        }
      }
      if constexpr (kAttention == Attention::kSeparateKey) {
        view.FindCorners(i, key, outside, corners);
        const Pixels<T> key_pixels(corners, view.bilinear_weights + 4 * i);
        for (int64_t d = 0; d < dims; d += kLanes<T>) {
          AddKeyProducts(key_pixels, query, d, products);
          Store(keys + i * dims + d, key_pixels.Sample(d));
        }
      }
      SumLanesOf8<T>(products, products_of_points + 8 * i);
    }
    pixel_products.Interpolate(points);

    T* grad_weights = pixel_products.grad_weights();
    if constexpr (kAttention == Attention::kPlain) {
      memcpy(attention_weights.get(), inputs.attention_weights + row * num_samples,
             num_samples * sizeof(T));
      memcpy(gradients.attention_weights + row * num_samples, grad_weights,
             num_samples * sizeof(T));
    } else {
      const T normaliser = ExpOfLogits(pixel_products.logits(), inputs.logit_scale,
                                       num_samples, attention_weights.get());
      Vector<T> sums = {};
      for (int64_t i = 0; i < padded; i += kLanes<T>) {
        const Vector<T> weights = normaliser * Load<T>(attention_weights.get() + i);
        Store(attention_weights.get() + i, weights);
        sums += weights * Load<T>(grad_weights + i);
      }
      const T mean = SumLanes(sums);
      for (int64_t i = 0; i < padded; i += kLanes<T>) {
        Store<T>(grad_logits.get() + i, Load<T>(attention_weights.get() + i) *
                                            (Load<T>(grad_weights + i) - mean) *
                                            inputs.logit_scale);
      }
      WeightedSum(grad_logits.get(), keys, num_samples, vectors, T(1),
                  gradients.query + row * dims);
    }
    T* to = gradients.locations + row * num_samples * 2;
    if (padded == num_samples) {
      pixel_products.Differentiate(points, attention_weights.get(), grad_logits.get(),
                                   to);
    } else {
      pixel_products.Differentiate(points, attention_weights.get(), grad_logits.get(),
                                   grad_locations.get());
      memcpy(to, grad_locations.get(), 2 * num_samples * sizeof(T));
    }

    const T* locations = inputs.locations + row * num_samples * 2;
    T* points_of_level = gradients.points_by_level + PointsByLevelOffset(item, sizes);
    for (int64_t l = 0; l < sizes.num_levels; ++l) {
      const int64_t first = l * num_points;
      CopyPoints(locations + 2 * first, 2 * num_points, points_of_level);
      CopyPoints(attention_weights.get() + first, num_points,
                 points_of_level + 2 * num_points);
      CopyPoints(grad_logits.get() + first, num_points,
                 points_of_level + 3 * num_points);
      points_of_level += sizes.num_queries * 4 * num_points;
    }
  }
}

// An item is one level of one head: its owner alone adds to it, in the order of the
// queries, which makes the sum the same for any number of threads.
template <typename T, int kVectors, bool kGradOfValue, bool kGradOfKey>
void TokenBackwardRange(const Inputs<T>& inputs, const T* points_by_level,
                        const T* grad_output, const T* query, T* grad_tokens,
                        int64_t begin, int64_t end) {
  const Sizes sizes = inputs.sizes;
  const int64_t vectors = NumVectors<T, kVectors>(sizes);
  const int64_t dims = vectors * kLanes<T>;
  const int64_t row_stride = sizes.num_heads * dims;
  const int64_t num_points = sizes.num_points;

  int64_t most_tokens = 0;
  for (int64_t l = 0; l < sizes.num_levels; ++l) {
    const int64_t tokens =
        static_cast<int64_t>(inputs.levels[l].height) * inputs.levels[l].width;
    most_tokens = tokens > most_tokens ? tokens : most_tokens;
  }
  // The level's gradient with its tokens side by side, and a row for pixels outside:
  // a head's rows in the result are so far apart that they share few cache sets.
  Buffer<T> level_gradient((most_tokens + 1) * dims);
  T* const sums = level_gradient.get();
  T* const outside = sums + most_tokens * dims;
  // Queries are located several at a time, to fill vectors with a level's few points.
  constexpr int64_t kBlock = 16;
  SamplingPoints<T> points(kBlock * num_points);
  Buffer<T> locations(kBlock * num_points * 2);
  T* corners[4];

  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch = item / (sizes.num_heads * sizes.num_levels);
    const int64_t head = item / sizes.num_levels % sizes.num_heads;
    const Level& level = inputs.levels[item % sizes.num_levels];
    const int64_t tokens = static_cast<int64_t>(level.height) * level.width;
    const T* item_points = points_by_level + item * sizes.num_queries * 4 * num_points;
    const int64_t item_rows =
        (batch * sizes.num_queries * sizes.num_heads + head) * dims;
    for (int64_t i = 0; i < points.size(); ++i) points.SetLevel(i, level, 0, dims);
    const SamplingPointsView<T> view = points.view();
    memset(sums, 0, tokens * dims * sizeof(T));

    for (int64_t block = 0; block < sizes.num_queries; block += kBlock) {
      const int64_t left = sizes.num_queries - block;
      const int64_t size = left < kBlock ? left : kBlock;
      for (int64_t member = 0; member < size; ++member) {
        CopyPoints(item_points + (block + member) * 4 * num_points, 2 * num_points,
                   locations.get() + member * 2 * num_points);
      }
      points.Locate(locations.get());
      for (int64_t member = 0; member < size; ++member) {
        const int64_t row = item_rows + (block + member) * row_stride;
        if (member + kPrefetchDistance < left) {
          const int64_t next = row + kPrefetchDistance * row_stride;
          if (kGradOfValue) Prefetch(grad_output + next, dims);
          if (kGradOfKey) Prefetch(query + next, dims);
        }
        const T* attention_weights =
            item_points + ((block + member) * 4 + 2) * num_points;
        const T* grad_logits = attention_weights + num_points;
        for (int64_t i = 0; i < num_points; ++i) {
          const int64_t point = member * num_points + i;
          view.FindCorners(point, sums, outside, corners);
          const T* of_point = view.bilinear_weights + 4 * point;
          const T weights[4] = {of_point[0], of_point[1], of_point[2], of_point[3]};
          const T attention_weight = attention_weights[i];
          const T grad_logit = grad_logits[i];
          for (int64_t d = 0; d < dims; d += kLanes<T>) {
            Vector<T> sum = {};
            if (kGradOfValue) sum += attention_weight * Load(grad_output + row + d);
            if (kGradOfKey) sum += grad_logit * Load(query + row + d);
            for (int corner = 0; corner < 4; ++corner) {
              T* to = corners[corner] + d;
              Store(to, Load<T>(to) + weights[corner] * sum);
            }
          }
        }
      }
    }

    T* to = grad_tokens + (batch * sizes.num_tokens + level.start) * row_stride +
            head * dims;
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t d = 0; d < dims; d += kLanes<T>) {
        Store(to + token * row_stride + d, Load<T>(sums + token * dims + d));
      }
    }
  }
}

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
