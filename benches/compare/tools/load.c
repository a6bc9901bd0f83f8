// Load that wrk and h2load do not make. Prints "ready" when it is set up, begins when a line comes in on standard
// input, prints what it saw as one line of JSON, and keeps its connections until standard input ends.
//   load sse  PORT PATH STREAMS SECONDS          event streams; each event has one '#'
//   load ws   PORT PATH STREAMS SECONDS          WebSocket: a frame of 100 bytes there and back, again and again
//   load idle PORT PATH CONNECTIONS 0            connections that were used once
//   load open PORT PATH RATE SECONDS             so many requests a second, whether or not they are answered
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define BUCKETS 200000  // of 100 µs
#define MOST 12000      // connections
#define LATE 1000000    // µs, after which an answer does not count as good
typedef struct { int fd, connecting, busy, len; long body; uint64_t at; char buf[8192]; } conn;
static conn *conns[MOST]; static conn *spare[MOST]; static int count, spares, ep, port;
static long buckets[BUCKETS], seen;
static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000ull + t.tv_nsec / 1000; }
static void record(uint64_t us) { uint64_t b = us / 100; buckets[b < BUCKETS ? b : BUCKETS - 1]++; seen++; }
static double percentile(double p) {
  long sum = 0, want = seen * p;
  for (int i = 0; i < BUCKETS; i++) { sum += buckets[i]; if (sum > want) return i * 100.0 + 50; }
  return 0;
}
static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(1); }
static conn *dial(int flags) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  conn *c = calloc(1, sizeof *c); int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (void *)&a, sizeof a)) { if (errno != EINPROGRESS) die("connect"); c->connecting = 1; }
  if (count < MOST) conns[count++] = c;
  return c;
}
static void watch(conn *c, int events) {
  struct epoll_event ev = {.events = events, .data.ptr = c};
  fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}
// The head's end, or 0. `status` and `body` are set with it.
static char *head(conn *c, int *status) {
  char *e = memmem(c->buf, c->len, "\r\n\r\n", 4);
  if (!e) return 0;
  *e = 0; *status = c->len > 12 ? atoi(c->buf + 9) : 0;
  char *l = strcasestr(c->buf, "\ncontent-length:");
  c->body = l ? atol(l + 16) : 0; *e = '\r';
  return e + 4;
}
static void await(conn *c, int wanted, int with_body) {  // blocking
  struct timeval patience = {10, 0}; int status = 0; char *rest = 0;
  setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  while (!rest || (with_body && c->len - (rest - c->buf) < c->body)) {
    long r = recv(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len, 0);
    if (r <= 0) die("no answer");
    c->len += r; rest = head(c, &status);
  }
  if (status != wanted) { fprintf(stderr, "load: answered %d\n", status); exit(1); }
  c->len = 0;
}
static void greet(int n, const char *request, int wanted, int with_body) {  // a hundred at once
  for (int i = 0; i < n;) {
    int first = i;
    for (; i < n && i < first + 100; i++) if (send(dial(0)->fd, request, strlen(request), MSG_NOSIGNAL) < 0) die("send");
    for (int j = first; j < i; j++) await(conns[j], wanted, with_body);
  }
}
static void wait_line(void) { int ch; while ((ch = getchar()) != '\n' && ch != EOF); }
static void wait_end(void) { while (getchar() != EOF); }
static void ready(void) { puts("ready"); fflush(stdout); wait_line(); }

static void streams(int ws, int n, double seconds, const char *request) {
  char frame[106] = {(char)0x81, (char)(0x80 | 100)};  // a mask of zeros
  memset(frame + 6, 'x', 100);
  greet(n, request, ws ? 101 : 200, 0);
  for (int i = 0; i < n; i++) watch(conns[i], EPOLLIN);
  ready();
  uint64_t begin = now(), end = begin + seconds * 1e6; long events = 0, broken = 0;
  static char buf[65536]; struct epoll_event evs[256];
  for (int i = 0; ws && i < n; i++) { conns[i]->at = now(); if (send(conns[i]->fd, frame, sizeof frame, MSG_NOSIGNAL) < 0) die("send"); }
  if (!ws) for (int i = 0; i < n; i++) while (recv(conns[i]->fd, buf, sizeof buf, 0) > 0);  // from before
  for (uint64_t t; (t = now()) < end;) {
    int k = epoll_wait(ep, evs, 256, (end - t) / 1000 + 1);
    for (int i = 0; i < k; i++) {
      conn *c = evs[i].data.ptr;
      long r = recv(c->fd, buf, sizeof buf, 0);
      if (r < 0 && errno == EAGAIN) continue;
      if (r <= 0) { broken++; epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, 0); continue; }
      if (!ws) { for (char *p = buf; (p = memchr(p, '#', buf + r - p)); p++) events++; continue; }
      c->len += r;
      if (c->len < 102) continue;
      c->len = 0; events++; record(now() - c->at); c->at = now();
      if (send(c->fd, frame, sizeof frame, MSG_NOSIGNAL) < 0) broken++;
    }
  }
  printf("{\"count\": %ld, \"seconds\": %.3f, \"bad\": %ld, \"p50\": %.0f, \"p99\": %.0f}\n", events, (now() - begin) / 1e6, broken, percentile(0.5), percentile(0.99));
}

static void idle(int n, const char *request) {
  greet(n, request, 200, 1);
  ready();
  printf("{\"count\": %d}\n", n);
}

static void closed(conn *c) { close(c->fd); c->fd = -1; c->busy = 0; }

static void open_loop(double rate, double seconds, const char *request) {
  int size = strlen(request), dialled = 0; long sent = 0, good = 0, late = 0, shed = 0, other = 0, broken = 0, skipped = 0;
  struct epoll_event evs[256];
  ready();
  uint64_t begin = now(), end = begin + seconds * 1e6;
  for (uint64_t t; (t = now()) < end;) {
    for (long due = (t - begin) / 1e6 * rate; sent < due; sent++) {
      conn *c = spares ? spare[--spares] : 0;
      if (!c) {
        if (dialled == MOST - 1) { skipped++; continue; }
        c = dial(SOCK_NONBLOCK); dialled++; watch(c, EPOLLIN | EPOLLOUT | EPOLLET);
      }
      c->busy = 1; c->at = begin + sent / rate * 1e6; c->len = 0;
      if (!c->connecting && send(c->fd, request, size, MSG_NOSIGNAL) < 0) { broken++; closed(c); dialled--; }
    }
    int k = epoll_wait(ep, evs, 256, 1);
    for (int i = 0; i < k; i++) {
      conn *c = evs[i].data.ptr; int status = 0;
      if (c->fd < 0) continue;
      if (c->connecting && evs[i].events & EPOLLOUT) {
        c->connecting = 0;
        if (send(c->fd, request, size, MSG_NOSIGNAL) < 0) { broken++; closed(c); dialled--; continue; }
      }
      for (;;) {
        long r = recv(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len, 0);
        if (r < 0 && errno == EAGAIN) break;
        if (r <= 0) { if (c->busy) broken++; else for (int j = 0; j < spares; j++) if (spare[j] == c) { spare[j] = spare[--spares]; break; } closed(c); dialled--; break; }
        c->len += r;
        char *rest = head(c, &status);
        if (!c->busy || !rest || c->len - (rest - c->buf) < c->body) continue;
        uint64_t took = now() - c->at;
        if (status == 200) { record(took); if (took > LATE) late++; else good++; }
        else if (status == 503 || status == 429) shed++;
        else other++;
        c->busy = 0; c->len = 0; spare[spares++] = c;
      }
    }
  }
  double took = (now() - begin) / 1e6;
  printf("{\"count\": %ld, \"sent\": %ld, \"seconds\": %.3f, \"good\": %.1f, \"late\": %ld, \"shed\": %ld, \"other\": %ld, \"bad\": %ld, "
         "\"skipped\": %ld, \"p50\": %.0f, \"p99\": %.0f}\n", good + late + shed + other, sent, took, good / took, late, shed, other, broken, skipped, percentile(0.5), percentile(0.99));
}

int main(int ac, char **av) {
  if (ac < 6) return 2;
  signal(SIGPIPE, SIG_IGN);
  ep = epoll_create1(0); port = atoi(av[2]);
  int ws = !strcmp(av[1], "ws"); char request[2048]; double n = atof(av[4]), seconds = atof(av[5]);
  snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench.local\r\n%s\r\n", av[3],
           ws ? "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" : "");
  if (ws || !strcmp(av[1], "sse")) streams(ws, n, seconds, request);
  else if (!strcmp(av[1], "idle")) idle(n, request);
  else if (!strcmp(av[1], "open")) open_loop(n, seconds, request);
  else return 2;
  fflush(stdout);
  wait_end();
}
