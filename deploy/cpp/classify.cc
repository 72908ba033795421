// Classifies a picture with an exported folder by ONNX Runtime's C API: classify FOLDER PICTURE.ppm. See README.md.

#include <onnxruntime_c_api.h>

#include <cstdio>
#include <exception>

#include "preprocess.h"

// The outputs of inference.onnx for one image.
std::vector<float> run(const Text& folder, const Text& output_name, std::vector<float> image, int64_t size) {
  const OrtApi* ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  require(ort, "the library of ONNX Runtime is older than its header");
  const auto check = [ort](OrtStatus* status) { require(!status, status ? ort->GetErrorMessage(status) : ""); };
  OrtEnv* environment;
  OrtSessionOptions* options;
  OrtSession* session;
  OrtMemoryInfo* memory;
  OrtValue *input, *output = nullptr;
  OrtTensorTypeAndShapeInfo* about;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "classify", &environment));
  check(ort->CreateSessionOptions(&options));
  check(ort->CreateSession(environment, (folder + "/inference.onnx").c_str(), options, &session));
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  const int64_t shape[] = {1, 3, size, size};
  check(ort->CreateTensorWithDataAsOrtValue(memory, image.data(), image.size() * sizeof(float), shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  const char *input_name = "x", *name = output_name.c_str();
  check(ort->Run(session, nullptr, &input_name, &input, 1, &name, 1, &output));
  float* values;
  size_t count;
  check(ort->GetTensorMutableData(output, reinterpret_cast<void**>(&values)));
  check(ort->GetTensorTypeAndShape(output, &about));
  check(ort->GetTensorShapeElementCount(about, &count));
  const std::vector<float> result(values, values + count);
  ort->ReleaseTensorTypeAndShapeInfo(about);
  ort->ReleaseValue(output);
  ort->ReleaseValue(input);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(environment);
  return result;
}

int main(int count, char** words) try {
  require(count == 3, "usage: classify FOLDER PICTURE.ppm");
  const Text folder = words[1], yaml = read(folder + "/inference.yml");
  require_known_steps(yaml);
  const int64_t size = number(yaml, "size");
  const std::vector<float> scores = run(folder, value(yaml, "output"), preprocess(read_ppm(words[2]), yaml, size), size);
  const std::vector<Text> names = list(yaml, "label_list");
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min<size_t>(order.size(), number(yaml, "topk")));
  for (const size_t i : order) std::printf("%zu\t%.6f\t%s\n", i, scores[i], names.at(i).c_str());
} catch (const std::exception& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 2;
}
