// SPDX-License-Identifier: Apache-2.0
/// Static probe points for bpftrace, perf and SystemTap: one no-op instruction each while nobody looks.
/// Source: sys/sdt.h (systemtap-sdt-dev), penstock-trace(1), "PROBES".
#pragma once

#if PENSTOCK_PROBES
#include <sys/sdt.h>
/// A request was answered. Kind (0 read, 1 write, 2 flush, 3 zero), offset, length, nanoseconds, errno.
#define PENSTOCK_PROBE_REQUEST(kind, offset, length, nanoseconds, error) \
  DTRACE_PROBE5(penstock, request, kind, offset, length, nanoseconds, error)
#else
#define PENSTOCK_PROBE_REQUEST(kind, offset, length, nanoseconds, error) static_cast<void>(0)
#endif
