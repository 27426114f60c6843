// SPDX-License-Identifier: Apache-2.0
// The bare server: a raw file shown as a file by libfuse, and nothing else. What penstock is measured against: the rest
// of the time is the kernel's and libfuse's, so what penstock needs beyond it is the price of its formats and locks.
//
//   bare FILE MOUNTPOINT-FILE [THREADS [MILLISECONDS]]
//
// Serves in the foreground until it is unmounted. Each thread receives, serves and answers. With MILLISECONDS every
// read takes that long: a slow disk, for tests.
#include "fuse/libfuse.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

int file = -1;
std::chrono::milliseconds delay{0};

void init(void* /*data*/, fuse_conn_info* connection) {
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA |
                                             FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->want |= connection->capable &
                      static_cast<unsigned>(FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_EXPLICIT_INVAL_DATA);
  connection->max_write = 1U << 20U;
  connection->max_read = 1U << 20U;  // as the mount option says
  connection->max_background = 256;
  connection->congestion_threshold = 192;
}

void getattr(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* /*info*/) {
  struct stat attributes{};
  if (fstat(file, &attributes) != 0) return void(fuse_reply_err(request, errno));
  attributes.st_ino = FUSE_ROOT_ID;
  fuse_reply_attr(request, &attributes, 1.0);
}

void open_file(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* info) {
  info->keep_cache = 1;
  info->noflush = 1;
  fuse_reply_open(request, info);
}

void read(fuse_req_t request, fuse_ino_t /*inode*/, size_t size, off_t offset, fuse_file_info* /*info*/) {
  thread_local std::vector<char> buffer(1U << 20U);
  if (delay.count() != 0) std::this_thread::sleep_for(delay);
  const ssize_t got = pread(file, buffer.data(), size, offset);
  if (got < 0) return void(fuse_reply_err(request, errno));
  fuse_reply_buf(request, buffer.data(), static_cast<size_t>(got));
}

void write(fuse_req_t request, fuse_ino_t /*inode*/, const char* bytes, size_t size, off_t offset,
           fuse_file_info* /*info*/) {
  const ssize_t done = pwrite(file, bytes, size, offset);
  if (done < 0) return void(fuse_reply_err(request, errno));
  fuse_reply_write(request, static_cast<size_t>(done));
}

void fsync(fuse_req_t request, fuse_ino_t /*inode*/, int /*data_only*/, fuse_file_info* /*info*/) {
  fuse_reply_err(request, fdatasync(file) == 0 ? 0 : errno);
}

void fallocate(fuse_req_t request, fuse_ino_t /*inode*/, int mode, off_t offset, off_t length,
               fuse_file_info* /*info*/) {
  fuse_reply_err(request, ::fallocate(file, mode, offset, length) == 0 ? 0 : errno);
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) {
    std::fprintf(stderr, "usage: %s FILE MOUNTPOINT-FILE [THREADS [MILLISECONDS]]\n", words[0]);
    return 2;
  }
  file = open(words[1], O_RDWR | O_CLOEXEC);
  if (file < 0) {
    std::perror(words[1]);
    return 1;
  }
  fuse_lowlevel_ops operations{};
  operations.init = init;
  operations.getattr = getattr;
  operations.open = open_file;
  operations.read = read;
  operations.write = write;
  operations.fsync = fsync;
  operations.fallocate = fallocate;
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, words[0]);
  fuse_opt_add_arg(&arguments, "-omax_read=1048576,fsname=bare");
  fuse_session* const session = fuse_session_new(&arguments, &operations, sizeof operations, nullptr);
  fuse_opt_free_args(&arguments);
  if (session == nullptr || fuse_session_mount(session, words[2]) != 0) return 1;
  {
    std::vector<std::jthread> threads;
    if (count > 4) delay = std::chrono::milliseconds(std::atoi(words[4]));
    const int wanted = count > 3 ? std::atoi(words[3]) : 4;
    for (int i = 0; i < wanted; ++i) {
      threads.emplace_back([session] {
        fuse_buf buffer{};
        for (;;) {
          const int got = fuse_session_receive_buf(session, &buffer);
          if (got == -EINTR) continue;
          if (got <= 0) break;
          fuse_session_process_buf(session, &buffer);
        }
        std::free(buffer.mem);
      });
    }
  }
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return 0;
}
