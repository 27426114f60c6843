// SPDX-License-Identifier: Apache-2.0
// Naming another backing file, and remembering what a mount is to start.
#include "base/broken_order.hpp"
#include "format/qcow2/header_change.hpp"
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

BackingReference Driver::backing() const {
  const SharedLock lock(mutex_);
  if (header_.backing_name.empty()) return {};
  return {header_.backing_name, header_.backing_format()};
}

Result<> Driver::put_header(const Header& next) {
  header_ = TRY(replace_header(*storage_, header_, next));
  hides_backing_ = hides_backing_ || !header_.backing_name.empty();
  return {};
}

Result<> Driver::change_backing(const BackingReference& backing) {
  TRY(begin_writing());
  const FlushLock flushing(flush_mutex_);
  // What was copied up must be linked for good before the file it came from is no longer asked.
  if (!broken(Order::finalise_before_flush)) TRY(flush_stages());
  const ChangeLock lock(mutex_);
  Header next = TRY(with_backing(header_, backing));
  // Nothing is left to copy: a mount that started to stream would be told that it cannot.
  if (backing.name.empty()) next = with_auto_start(next, {});
  return put_header(next);
}

AutoStart Driver::auto_start() const {
  const SharedLock lock(mutex_);
  return auto_start_of(header_);
}

Result<> Driver::set_auto_start(AutoStart start) {
  TRY(begin_writing());
  const FlushLock flushing(flush_mutex_);
  const ChangeLock lock(mutex_);
  return put_header(with_open_flag(with_auto_start(header_, start), start.stream));
}

}  // namespace penstock::qcow2
