// SPDX-License-Identifier: Apache-2.0
/// What most commands include, parsed once: CLI11 and the JSON library take longer to read than all of the command.
/// Each file still includes what it uses, so that it compiles without this one.
#include <penstock/image.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
