#include "speechpress/decoder.h"

#include <map>

#include "answers/kinds.h"
#include "answers/parts.h"

namespace speechpress {

std::unique_ptr<Decoder> make_decoder(const HeadSpec& spec) {
  // A further kind is a file beside these, and a row.
  static const std::map<std::string, std::unique_ptr<Decoder> (*)(const HeadSpec&)> kKinds = {
      {"classify", make_classify}, {"ctc", make_ctc}, {"units", make_units},
      {"speaker", make_speaker},   {"vad", make_vad}, {"segment", make_segment},
      {"words", make_words}};
  const auto found = kKinds.find(spec.kind);
  if (found == kKinds.end()) {
    throw head_error(spec, "there is no decoder for this kind: it needs a newer speechpress");
  }
  return found->second(spec);
}

}  // namespace speechpress
