// SPDX-License-Identifier: Apache-2.0
/// The locks under which drivers change their metadata: what is begun there is finished, memory or not.
#pragma once

#include "base/memory.hpp"
#include "base/mutex.hpp"

namespace penstock {

/// As ExclusiveLock.
class SCOPED_CAPABILITY ChangeLock {
 public:
  explicit ChangeLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~ChangeLock() RELEASE() { mutex_.unlock(); }
  ChangeLock(const ChangeLock&) = delete;
  ChangeLock& operator=(const ChangeLock&) = delete;

 private:
  const MustHaveMemory memory_;
  SharedMutex& mutex_;
};

/// As MutexLock, around a flush: what it has taken to be written must be written, or put back.
class SCOPED_CAPABILITY FlushLock {
 public:
  explicit FlushLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~FlushLock() RELEASE() { mutex_.unlock(); }
  FlushLock(const FlushLock&) = delete;
  FlushLock& operator=(const FlushLock&) = delete;

 private:
  const MustHaveMemory memory_;
  Mutex& mutex_;
};

}  // namespace penstock
