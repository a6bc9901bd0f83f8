// Upstream of long-lived streams: event streams that get an event at every tick, and an echo over WebSocket.
// Single-threaded epoll. usage: streams PORT TICK_MS
//
// Each event has exactly one '#'. The echo expects frames of 100 bytes under a mask of zeros, as `load ws` sends.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
enum { HEAD, EVENTS, ECHO };
#define ASKED 106
#define TOLD 102
typedef struct conn { int fd, state, len; struct conn *next, *prev; char buf[4096]; } conn;
static conn all = {.next = &all, .prev = &all};
static const char *STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n";
// The answer to the key of RFC 6455's own example, which `load` sends.
static const char *UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static void drop(conn *c) { close(c->fd); c->prev->next = c->next; c->next->prev = c->prev; free(c); }
static int say(conn *c, const char *p, int n) { return send(c->fd, p, n, MSG_NOSIGNAL) == n; }
static int heard(conn *c) {  // 0: it has to go
  if (c->state == HEAD) {
    char *e = memmem(c->buf, c->len, "\r\n\r\n", 4);
    if (!e) return c->len < (int)sizeof c->buf;
    *e = 0;
    int upgrade = strcasestr(c->buf, "\nupgrade: websocket") != 0, rest = c->len - (int)(e + 4 - c->buf);
    memmove(c->buf, e + 4, rest); c->len = rest;
    const char *head = upgrade ? UPGRADED : STREAM;
    c->state = upgrade ? ECHO : EVENTS;
    if (!say(c, head, strlen(head))) return 0;
  }
  if (c->state == EVENTS) c->len = 0;
  while (c->state == ECHO && c->len >= ASKED) {
    char frame[TOLD] = {(char)0x81, 100};
    memcpy(frame + 2, c->buf + 6, 100);
    memmove(c->buf, c->buf + ASKED, c->len - ASKED); c->len -= ASKED;
    if (!say(c, frame, TOLD)) return 0;
  }
  return 1;
}
int main(int ac, char **av) {
  if (ac < 3) return 2;
  signal(SIGPIPE, SIG_IGN);
  int one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(av[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), tick = atoi(av[2]);
  struct timespec every = {tick / 1000, tick % 1000 * 1000000L};
  timerfd_settime(timer, 0, &(struct itimerspec){every, every}, 0);
  struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &ls}, evs[256];
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
  ev.data.ptr = &timer; epoll_ctl(ep, EPOLL_CTL_ADD, timer, &ev);
  long number = 0;
  for (;;) {
    int n = epoll_wait(ep, evs, 256, -1), ticked = 0;
    for (int i = 0; i < n; i++) {
      if (evs[i].data.ptr == &ls) {
        int fd; while ((fd = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          conn *c = calloc(1, sizeof *c); c->fd = fd; c->next = all.next; c->prev = &all; all.next->prev = c; all.next = c;
          ev.data.ptr = c; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
        }
      } else if (evs[i].data.ptr == &timer) {
        long times; if (read(timer, &times, sizeof times) > 0) ticked = 1;
      } else {
        conn *c = evs[i].data.ptr;
        long r = recv(c->fd, c->buf + c->len, sizeof c->buf - c->len, 0);
        if (r < 0 && errno == EAGAIN) continue;
        if (r <= 0) { drop(c); continue; }
        c->len += r;
        if (!heard(c)) drop(c);
      }
    }
    if (!ticked) continue;  // after the others, so that nothing of this batch is gone
    char data[128], chunk[160];
    int m = snprintf(data, sizeof data, "id: %ld\ndata: {\"symbol\":\"GATE\",\"price\":%ld,\"note\":\"#\"}\n\n", number, number % 1000);
    int k = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", m, data); number++;
    for (conn *c = all.next, *next; c != &all; c = next) {
      next = c->next;
      if (c->state == EVENTS && !say(c, chunk, k)) drop(c);
    }
  }
}
