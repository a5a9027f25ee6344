// A stand-in for the kernel's side of ipvsadm, preloaded into the real binary: get and set calls of
// the IPVS control interface are answered from a text file, so that what ipvsadm does with its
// arguments and prints of a table can be seen where the kernel has no ip_vs. IPv4 only, as that
// interface is.
//
//   IPVS_STATE   lines "S protocol address port mark scheduler flags timeout mask" + ten numbers
//                (conns inpkts outpkts inbytes outbytes cps inpps outpps inbps outbps), and
//                "D address port method weight upper lower active inactive persistent" + the ten
//   IPVS_ERRNO   what every change fails with; absent = it succeeds
//   IPVS_CONNS   the file that stands for /proc/net/ip_vs_conn
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/ip_vs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 64

static struct ip_vs_service_entry services[MAX];
static struct ip_vs_dest_entry dests[MAX][MAX];
static int count = -1;

static void numbers(char *text, struct ip_vs_stats_user *stats) {
  unsigned long long n[10] = {0};
  sscanf(text, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", n, n + 1, n + 2, n + 3, n + 4,
         n + 5, n + 6, n + 7, n + 8, n + 9);
  stats->conns = n[0], stats->inpkts = n[1], stats->outpkts = n[2];
  stats->inbytes = n[3], stats->outbytes = n[4];
  stats->cps = n[5], stats->inpps = n[6], stats->outpps = n[7];
  stats->inbps = n[8], stats->outbps = n[9];
}

static void load(void) {
  char line[512], address[64], mask[64];
  FILE *file;
  if (count >= 0) return;
  count = 0;
  if (!getenv("IPVS_STATE") || !(file = fopen(getenv("IPVS_STATE"), "r"))) return;
  while (fgets(line, sizeof(line), file) && count < MAX) {
    int at = 0;
    if (line[0] == 'S') {
      struct ip_vs_service_entry *s = &services[count++];
      unsigned protocol, port;
      sscanf(line, "S %u %63s %u %u %15s %x %u %63s %n", &protocol, address, &port, &s->fwmark,
             s->sched_name, &s->flags, &s->timeout, mask, &at);
      s->protocol = protocol;
      s->port = htons(port);
      inet_pton(AF_INET, address, &s->addr);
      inet_pton(AF_INET, mask, &s->netmask);
      numbers(line + at, &s->stats);
    } else if (line[0] == 'D' && count > 0) {
      struct ip_vs_service_entry *s = &services[count - 1];
      struct ip_vs_dest_entry *d = &dests[count - 1][s->num_dests++];
      unsigned port, flags;
      sscanf(line, "D %63s %u %u %d %u %u %u %u %u %n", address, &port, &flags, &d->weight,
             &d->u_threshold, &d->l_threshold, &d->activeconns, &d->inactconns, &d->persistconns,
             &at);
      inet_pton(AF_INET, address, &d->addr);
      d->port = htons(port);
      d->conn_flags = flags;
      numbers(line + at, &d->stats);
    }
  }
  fclose(file);
}

static FILE *open_named(const char *name, const char *path, const char *mode) {
  FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, name);
  const char *own = getenv("IPVS_CONNS");
  return real(own && !strcmp(path, "/proc/net/ip_vs_conn") ? own : path, mode);
}

FILE *fopen(const char *path, const char *mode) { return open_named("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return open_named("fopen64", path, mode); }

static int same(const struct ip_vs_service_entry *a, const struct ip_vs_service_entry *b) {
  return a->fwmark ? a->fwmark == b->fwmark
                   : !b->fwmark && a->protocol == b->protocol && a->addr == b->addr &&
                         a->port == b->port;
}

int socket(int domain, int type, int protocol) {
  int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
  return type == SOCK_RAW && domain == AF_INET ? dup(2) : real(domain, type, protocol);
}

static int refuse(int code) {
  errno = code;
  return -1;
}

static int get_service(struct ip_vs_service_entry *asked) {
  for (int i = 0; i < count; i++) {
    if (!same(asked, &services[i])) continue;
    *asked = services[i];
    return 0;
  }
  return refuse(ESRCH);
}

static int get_dests(struct ip_vs_get_dests *asked) {
  struct ip_vs_service_entry key = {.protocol = asked->protocol, .addr = asked->addr,
                                    .port = asked->port, .fwmark = asked->fwmark};
  for (int i = 0; i < count; i++) {
    if (!same(&key, &services[i])) continue;
    memcpy(asked->entrytable, dests[i], services[i].num_dests * sizeof(dests[i][0]));
    return 0;
  }
  return refuse(ESRCH);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
  struct ip_vs_getinfo *info = value;
  struct ip_vs_get_services *all = value;
  struct ip_vs_timeout_user timeouts = {900, 120, 300};
  if (level != IPPROTO_IP || name < IP_VS_BASE_CTL || name > IP_VS_BASE_CTL + 63)
    return real(fd, level, name, value, size);
  load();
  switch (name) {
  case IP_VS_SO_GET_INFO:
    info->version = 0x010201, info->size = 4096, info->num_services = count;
    return 0;
  case IP_VS_SO_GET_SERVICES:
    memcpy(all->entrytable, services, all->num_services * sizeof(services[0]));
    return 0;
  case IP_VS_SO_GET_SERVICE:
    return get_service(value);
  case IP_VS_SO_GET_DESTS:
    return get_dests(value);
  case IP_VS_SO_GET_TIMEOUT:
    memcpy(value, &timeouts, sizeof(timeouts));
    return 0;
  default:
    memset(value, 0, *size);
    return 0;
  }
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
  if (level != IPPROTO_IP || name < IP_VS_BASE_CTL || name > IP_VS_BASE_CTL + 63)
    return real(fd, level, name, value, size);
  if (getenv("IPVS_TRACE")) {
    const struct ip_vs_service_user *s = value;
    const struct ip_vs_dest_user *d = (const void *)(s + 1);
    if (size >= sizeof(*s))
      printf("%d: %u %08x %u %u %s %x %u %08x\n", name - IP_VS_BASE_CTL, s->protocol,
             ntohl(s->addr), ntohs(s->port), s->fwmark, s->sched_name, s->flags, s->timeout,
             ntohl(s->netmask));
    if (size >= sizeof(*s) + sizeof(*d))
      printf("%08x %u %x %d %u %u\n", ntohl(d->addr), ntohs(d->port), d->conn_flags, d->weight,
             d->u_threshold, d->l_threshold);
  }
  return getenv("IPVS_ERRNO") ? refuse(atoi(getenv("IPVS_ERRNO"))) : 0;
}
