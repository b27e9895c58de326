// Axis 0 of cpu::correlation, which correlation.cpp chooses.
#pragma once

#include "ops.h"

namespace bwlm::cpu {

void correlation_columns(const CorrelationArgs&, const Launch&);

}  // namespace bwlm::cpu
