// SPDX-License-Identifier: Apache-2.0
/// What the driver knows of room for one compressed cluster.
#pragma once

#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

struct Driver::PackedRoom final : Reservation::State {
  explicit PackedRoom(Driver& the_driver) : driver(the_driver) {}
  ~PackedRoom() override;
  Driver& driver;
  GuestOffset cluster;
  HostRange room;  // nothing once linked
};

}  // namespace penstock::qcow2
