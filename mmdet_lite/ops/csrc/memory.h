// A kernel's own memory, and how memory is copied and brought to the cache.

#ifndef MMDET_LITE_OPS_CSRC_MEMORY_H_
#define MMDET_LITE_OPS_CSRC_MEMORY_H_

#include <stdlib.h>
#include <string.h>

#include <cstdint>
#include <new>

namespace mmdet_lite {
namespace {

// Arrays over points go on to a multiple of this, and so does every loop over them:
// what one of them left out would keep the numbers of the query before, NaN among them.
constexpr int64_t kPointsMultiple = 8;

inline int64_t RoundUp(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

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

}  // namespace
}  // namespace mmdet_lite

#endif  // MMDET_LITE_OPS_CSRC_MEMORY_H_
