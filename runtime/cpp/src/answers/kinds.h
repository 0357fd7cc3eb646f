#pragma once

#include <memory>

#include "speechpress/decoder.h"

namespace speechpress {

std::unique_ptr<Decoder> make_classify(const HeadSpec& spec);
std::unique_ptr<Decoder> make_ctc(const HeadSpec& spec);
std::unique_ptr<Decoder> make_units(const HeadSpec& spec);
std::unique_ptr<Decoder> make_speaker(const HeadSpec& spec);
std::unique_ptr<Decoder> make_vad(const HeadSpec& spec);
std::unique_ptr<Decoder> make_segment(const HeadSpec& spec);
std::unique_ptr<Decoder> make_words(const HeadSpec& spec);

}  // namespace speechpress
