// What an exported folder says in its inference.yml, and its preprocessing of a picture, for any engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using Text = std::string;

inline void require(bool condition, const Text& problem) {
  if (!condition) throw std::runtime_error(problem);
}

inline Text read(const Text& path) {
  std::ifstream file(path, std::ios::binary);
  require(bool(file), path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

// The value of a key of inference.yml: the rest of its line, or all of a list, which may go on in further lines.
inline Text value(const Text& yaml, const Text& key) {
  const size_t found = yaml.find(" " + key + ": ");
  require(found != Text::npos, "inference.yml has no " + key);
  const size_t begin = found + key.size() + 3, end = yaml.find(yaml[begin] == '[' ? "]\n" : "\n", begin);
  return std::regex_replace(yaml.substr(begin, end - begin), std::regex("\n +"), " ");
}

inline double number(const Text& yaml, const Text& key) {
  const Text found = value(yaml, key);
  require(found[0] != '[', "this example takes one number as " + key + " of inference.yml");
  return std::stod(found);
}

// The elements of "[a, 'b, c', 0.5"; in quotes '' is one quote.
inline std::vector<Text> list(const Text& yaml, const Text& key) {
  const Text all = value(yaml, key).substr(1);
  const std::regex element("'((?:[^']|'')*)'|([^', ][^,]*)"), quotes("''");
  std::vector<Text> elements;
  for (std::sregex_iterator at(all.begin(), all.end(), element), end; at != end; ++at)
    elements.push_back((*at)[1].matched ? std::regex_replace((*at)[1].str(), quotes, "'") : (*at)[2].str());
  return elements;
}

// Another preprocessing than the one below would give other answers without an error.
inline void require_known_steps(const Text& yaml) {
  const std::set<Text> known{"transform_ops", "ResizeImage", "resize_short", "CropImage",   "size",      "NormalizeImage",
                             "scale",         "mean",        "std",          "order",       "channel_num", "ToCHWImage"};
  const size_t begin = yaml.find("PreProcess:\n") + 12;
  std::istringstream lines(yaml.substr(begin, yaml.find("PostProcess:") - begin));
  for (Text line; std::getline(lines, line);) {
    const size_t first = line.find_first_not_of(" -");
    const Text key = line.substr(first, line.find(':') - first);
    require(known.count(key), "this example does not know " + key + " of inference.yml");
  }
}

struct Picture {
  int64_t width, height;
  Text pixels;  // rows of RGB
};

inline Picture read_ppm(const Text& path) {
  std::istringstream file(read(path));
  Text kind;
  int64_t width = 0, height = 0, most = 0;
  file >> kind >> width >> height >> most;
  require(kind == "P6" && most == 255 && width > 0 && height > 0, path + " is no PPM of 8 bits (P6, no comments)");
  file.get();
  Picture picture{width, height, Text(std::istreambuf_iterator<char>(file), {})};
  require(int64_t(picture.pixels.size()) == 3 * width * height, path + " is cut off");
  return picture;
}

// Two neighbours of a place between pixels, and their weights in 2048ths.
struct Between {
  int64_t first, second, first_weight, second_weight;
};

// Of `size` places of a resized row or column from `begin` on, as OpenCV has them; a row ends with its last pixels.
inline std::vector<Between> places(int64_t begin, int64_t size, double ratio, int64_t length, bool row) {
  std::vector<Between> result;
  for (int64_t i = begin; i < begin + size; ++i) {
    const float at = (i + 0.5) * ratio - 0.5;
    const int64_t first = std::floor(at), last = length - 1;
    const float after = row && (first < 0 || first >= last) ? 0.f : at - first;
    const auto within = [last](int64_t k) { return std::min(std::max<int64_t>(k, 0), last); };
    result.push_back({within(first), within(first + 1), std::lrint((1 - after) * 2048), std::lrint(after * 2048)});
  }
  return result;
}

// (3, size, size): the short side resized, the centre cut out, normalised.
inline std::vector<float> preprocess(const Picture& picture, const Text& yaml, int64_t size) {
  const double ratio = number(yaml, "resize_short") / std::min(picture.width, picture.height);
  const int64_t width = std::lrint(picture.width * ratio), height = std::lrint(picture.height * ratio);
  require(size <= width && size <= height, "CropImage.size is more than ResizeImage.resize_short");
  const auto rows = places((height - size) / 2, size, double(picture.height) / height, picture.height, false);
  const auto columns = places((width - size) / 2, size, double(picture.width) / width, picture.width, true);
  const std::vector<Text> means = list(yaml, "mean"), deviations = list(yaml, "std");
  const float scale = number(yaml, "scale");
  std::vector<float> image;
  for (int64_t c = 0; c < 3; ++c) {
    const float mean = std::stof(means.at(c)), deviation = std::stof(deviations.at(c));
    for (const Between& y : rows)
      for (const Between& x : columns) {
        const auto sum = [&](int64_t row) {
          const char* from = &picture.pixels[3 * row * picture.width + c];
          return uint8_t(from[3 * x.first]) * x.first_weight + uint8_t(from[3 * x.second]) * x.second_weight;
        };
        const int64_t value = (((y.first_weight * (sum(y.first) >> 4)) >> 16) +
                               ((y.second_weight * (sum(y.second) >> 4)) >> 16) + 2) >> 2;
        image.push_back((value * scale - mean) / deviation);
      }
  }
  return image;
}
