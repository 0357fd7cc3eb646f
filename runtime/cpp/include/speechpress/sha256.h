#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace speechpress {

/// SHA-256 (FIPS 180-4) of bytes that come in pieces.
class Sha256 {
 public:
  void update(const unsigned char* bytes, size_t count);

  /// The digest in 64 hexadecimal digits; nothing can be added after it.
  std::string hex();

 private:
  static constexpr size_t kBlockBytes = 64;

  void take_block(const unsigned char* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, kBlockBytes> rest_{};
  size_t rest_bytes_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace speechpress
