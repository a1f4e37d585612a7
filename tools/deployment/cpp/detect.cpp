// Runs a package that tools/deployment/export.py wrote; Python is not needed.
//
//   detect detector.pt2 detector.ops.so image.ppm
//
// The image is a binary PPM (P6) of a size that the package takes: OpenCV's imwrite
// makes one. Each line of the output is an object: label, score, x1, y1, x2, y2.
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// (1, 3, height, width), uint8, BGR.
at::Tensor ReadPpm(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  if (!(file >> magic >> width >> height >> most) || magic != "P6" || most != 255) {
    throw std::runtime_error(std::string(path) + " is not a binary PPM of 8 bits");
  }
  file.get();
  at::Tensor rgb = at::empty({height, width, 3}, at::kByte);
  if (!file.read(static_cast<char*>(rgb.data_ptr()), rgb.numel())) {
    throw std::runtime_error(std::string(path) + " ends too early");
  }
  return rgb.flip(2).permute({2, 0, 1}).unsqueeze(0).contiguous();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) {
    throw std::runtime_error("expected: detect PACKAGE.pt2 LIBRARY.ops.so IMAGE.ppm");
  }
  // Loading the library registers the attention operators that the package calls. A bare
  // name would be searched for where the system has its libraries.
  const std::string library = std::filesystem::absolute(argv[2]).string();
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw std::runtime_error(dlerror());
  }
  torch::inductor::AOTIModelPackageLoader package(argv[1]);
  const std::vector<at::Tensor> results = package.run({ReadPpm(argv[3])});
  const auto boxes = results[0].accessor<float, 3>();
  const auto scores = results[1].accessor<float, 2>();
  const auto labels = results[2].accessor<int64_t, 2>();
  for (int64_t i = 0; i < scores.size(1); ++i) {
    if (scores[0][i] == 0) continue;  // Removed by NMS.
    std::printf("%lld %.6f %.3f %.3f %.3f %.3f\n", static_cast<long long>(labels[0][i]),
                scores[0][i], boxes[0][i][0], boxes[0][i][1], boxes[0][i][2],
                boxes[0][i][3]);
  }
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 2;
}
