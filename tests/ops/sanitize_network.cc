// Runs plans in arrays of exactly their size, for test_sanitize.py. Each file that is named has images, a plan, and the
// outputs that are expected, or none for a plan that is to be refused or run, one of the two.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

struct Handle;
extern "C" {
Handle* ppcls_network_create(const void* plan, int64_t size, char* error, int64_t error_size);
Handle* ppcls_network_clone(const Handle* handle, char* error, int64_t error_size);
int64_t ppcls_network_classes(const Handle* handle);
int ppcls_network_run(Handle* handle, const float* images, int64_t batch, int64_t height, int64_t width, float* out,
                      int64_t threads, char* error, int64_t error_size);
void ppcls_network_destroy(Handle* handle);
}

template <typename T>
std::vector<T> next(std::ifstream& file, int64_t size) {
  std::vector<T> values(size);
  file.read(reinterpret_cast<char*>(values.data()), size * sizeof(T));
  return values;
}

void run(Handle* handle, const std::vector<int64_t>& sizes, const std::vector<float>& images,
         const std::vector<float>& expected) {
  char error[256] = "";
  for (const int64_t threads : {1, 3}) {
    std::vector<float> out(sizes[0] * ppcls_network_classes(handle));
    if (ppcls_network_run(handle, images.data(), sizes[0], sizes[1], sizes[2], out.data(), threads, error, sizeof error))
      std::printf("%s\n", error);
    for (size_t i = 0; i < expected.size(); ++i)
      if (!(std::abs(out[i] - expected[i]) <= 1e-4)) std::printf("%g instead of %g\n", out[i], expected[i]);
  }
}

int main(int count, char** paths) {
  int made = 0;
  for (int i = 1; i < count; ++i) {
    std::ifstream file(paths[i], std::ios::binary);
    const auto sizes = next<int64_t>(file, 5);  // batch, height, width, then those of the plan and the outputs
    const auto images = next<float>(file, sizes[0] * 3 * sizes[1] * sizes[2]);
    const auto plan = next<char>(file, sizes[3]);
    const auto expected = next<float>(file, sizes[4]);
    char error[256] = "";
    Handle* handle = ppcls_network_create(plan.data(), plan.size(), error, sizeof error);
    if (handle == nullptr) {
      if (!expected.empty()) std::printf("%s: %s\n", paths[i], error);
      continue;
    }
    ++made;
    Handle* twin = ppcls_network_clone(handle, error, sizeof error);
    std::thread beside([&] { run(twin, sizes, images, expected); });
    run(handle, sizes, images, expected);
    beside.join();
    ppcls_network_destroy(handle);
    ppcls_network_destroy(twin);
  }
  std::printf("%d plans ran\n", made);
}
