/* For scripts/bench: a disk whose every sync takes so many microseconds longer. Preloaded into PostgreSQL only. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void linger(void) {
  struct timespec left = {MICROSECONDS / 1000000, MICROSECONDS % 1000000 * 1000};
  while (nanosleep(&left, &left) != 0) {
  }
}

int fsync(int fd) {
  linger();
  return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
  linger();
  return (int)syscall(SYS_fdatasync, fd);
}
