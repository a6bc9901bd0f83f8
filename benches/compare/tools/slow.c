// Upstream of limited capacity: does K requests at once, each in S microseconds; the others wait in line, first come,
// first served. As servers do, it works on what nobody waits for any more. usage: slow PORT K S
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
typedef struct conn { int fd, len, inside; uint64_t done; struct conn *next; char buf[4096]; } conn;
typedef struct { conn *first, *last; } line;
static line waiting, working; static int active;
static void push(line *l, conn *c) { c->next = 0; if (l->last) l->last->next = c; else l->first = c; l->last = c; }
static conn *pop(line *l) { conn *c = l->first; if (c && !(l->first = c->next)) l->last = 0; return c; }
static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000ull + t.tv_nsec / 1000; }
int main(int ac, char **av) {
  if (ac < 4) return 2;
  signal(SIGPIPE, SIG_IGN);
  int most = atoi(av[2]), one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
  uint64_t takes = atoi(av[3]);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(av[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &ls}, evs[256];
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
  ev.data.ptr = &timer; epoll_ctl(ep, EPOLL_CTL_ADD, timer, &ev);
  char body[129], answer[256]; memset(body, 'a', 128); body[128] = 0;
  int size = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n%s", body);
  for (;;) {
    int n = epoll_wait(ep, evs, 256, -1);
    for (int i = 0; i < n; i++) {
      if (evs[i].data.ptr == &ls) {
        int fd; while ((fd = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          conn *c = calloc(1, sizeof *c); c->fd = fd; ev.data.ptr = c; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
        }
      } else if (evs[i].data.ptr == &timer) {
        long times; if (read(timer, &times, sizeof times) < 0) continue;
      } else {
        conn *c = evs[i].data.ptr;
        long r = recv(c->fd, c->buf + c->len, sizeof c->buf - c->len, 0);
        if (r < 0 && errno == EAGAIN) continue;
        if (r <= 0) { close(c->fd); c->fd = -1; if (!c->inside) free(c); continue; }
        c->len += r;
        if (memmem(c->buf, c->len, "\r\n\r\n", 4)) { c->len = 0; c->inside = 1; push(&waiting, c); }
      }
    }
    uint64_t at = now();
    while (working.first && working.first->done <= at) {
      conn *c = pop(&working); active--; c->inside = 0;
      if (c->fd < 0) free(c);
      else send(c->fd, answer, size, MSG_NOSIGNAL);
    }
    while (active < most && waiting.first) { conn *c = pop(&waiting); c->done = at + takes; active++; push(&working, c); }
    if (working.first) {
      uint64_t in = working.first->done > at ? working.first->done - at : 1;
      timerfd_settime(timer, 0, &(struct itimerspec){{0, 0}, {in / 1000000, in % 1000000 * 1000}}, 0);
    }
  }
}
