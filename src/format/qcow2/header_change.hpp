// SPDX-License-Identifier: Apache-2.0
/// Changing what the header says besides its fixed fields, so that a crash leaves the old header or the new one.
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

/// `header` with another backing file, or none, and what a mount is to start. Extensions that were there keep their
/// order. Errors: ENAMETOOLONG, ENOTSUP for a format name that is too long, EINVAL together with a raw data file.
[[nodiscard]] Result<Header> with_backing(const Header& header, const BackingReference& backing);
/// The flags in penstock's own extension; without any the extension is taken out.
[[nodiscard]] Header with_auto_start(const Header& header, AutoStart start);
[[nodiscard]] AutoStart auto_start_of(const Header& header);
/// Beside those flags: a mount that streams has the image open for writing, or had and did not close it.
[[nodiscard]] Header with_open_flag(const Header& header, bool open);
[[nodiscard]] bool has_open_flag(const Header& header);

/// Writes `next` over `old`, which is what the header cluster holds, durably. The two differ in extensions and backing
/// name alone. Everything they rely on must be durable. Gives what the cluster holds now, which may say the same in
/// other words. Errors: ENOSPC when it does not fit; nothing changed then.
[[nodiscard]] Result<Header> replace_header(Storage& storage, const Header& old, const Header& next);

}  // namespace penstock::qcow2
