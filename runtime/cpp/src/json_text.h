#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace speechpress {

/// The text at a place in a JSON document, such as {"files", "encoder.pte", "sha256"}.
/// Throws Error when there is none, or the document is not JSON up to there.
std::string text_at(std::string_view json, const std::vector<std::string>& path);

/// The part of a document, an object, that the value of a key takes up; empty when it has no such
/// key. Throws Error when the document is not JSON up to there.
std::string_view part_at(std::string_view json, const std::string& key);

}  // namespace speechpress
