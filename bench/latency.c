/* How soon a new connection hears from its endpoint, and how many there can be.

   latency serve PORT WORKERS              every worker answers each connection with one byte and waits for its end
   latency ask ADDRESS PORT COUNT SECONDS CLIENTS     prints count, errors, p50, p99 (us) and connections a second
   latency sink PORT                       reads and forgets
   latency push ADDRESS PORT SECONDS       prints the bytes a second that one connection takes

   A client ends by a reset, so that no port waits for its next use. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static int by_size(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return a < b ? -1 : a > b;
}

static struct sockaddr_in place(const char *address, const char *port) {
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    if (inet_pton(AF_INET, address, &found.sin_addr) != 1) exit(2);
    return found;
}

static void stay_on(int cpu) {
    cpu_set_t set;
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(&set);
    CPU_SET((cpu + count) % count, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int listening(const char *port) {
    struct sockaddr_in at = place("0.0.0.0", port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096)) { perror("listen"); exit(1); }
    return fd;
}

static void serve(const char *port, int workers) {
    int listener = listening(port);
    char byte;
    while (--workers > 0 && fork());
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    stay_on(-1);
    puts("ready"); fflush(stdout);
    for (;;) {
        int fd = accept(listener, 0, 0);
        if (fd < 0) continue;
        if (write(fd, "x", 1) == 1) while (read(fd, &byte, 1) > 0);
        close(fd);
    }
}

static int ask_once(const struct sockaddr_in *to) {
    struct linger reset = {1, 0};
    struct timeval patience = {5, 0};
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int good = !connect(fd, (const void *)to, sizeof *to) && read(fd, &byte, 1) == 1;
    close(fd);
    return good;
}

static void ask(const struct sockaddr_in to, long count, double seconds, int clients) {
    float *took = mmap(0, sizeof *took * count * clients, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long *done = mmap(0, sizeof *done * 2 * clients, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double began = now();
    for (int client = 0; client < clients; client++) {
        if (fork()) continue;
        stay_on(client);
        float *mine = took + count * client;
        while (done[client] < count && now() - began < seconds && done[clients + client] < 20) {
            double start = now();
            if (ask_once(&to)) mine[done[client]++] = (now() - start) * 1e6;
            else done[clients + client]++;
        }
        _exit(0);
    }
    while (wait(0) > 0);
    double elapsed = now() - began;
    long total = 0, errors = 0;
    for (int client = 0; client < clients; client++) {
        memmove(took + total, took + count * client, done[client] * sizeof *took);
        total += done[client];
        errors += done[clients + client];
    }
    if (!total) { printf("{\"count\": 0, \"errors\": %ld}\n", errors); return; }
    qsort(took, total, sizeof *took, by_size);
    printf("{\"count\": %ld, \"errors\": %ld, \"p50\": %.2f, \"p99\": %.2f, \"rate\": %.0f}\n", total, errors,
           took[total / 2], took[total * 99 / 100], total / elapsed);
}

static void sink(const char *port) {
    static char buffer[1 << 18];
    int listener = listening(port);
    puts("ready"); fflush(stdout);
    for (;;) {
        int fd = accept(listener, 0, 0);
        while (read(fd, buffer, sizeof buffer) > 0);
        close(fd);
    }
}

static void push(const struct sockaddr_in to, double seconds) {
    static char buffer[1 << 18];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const void *)&to, sizeof to)) { perror("connect"); exit(1); }
    double began = now(), bytes = 0;
    while (now() - began < seconds) {
        ssize_t taken = write(fd, buffer, sizeof buffer);
        if (taken < 0) { perror("write"); exit(1); }
        bytes += taken;
    }
    printf("{\"rate\": %.0f}\n", bytes / (now() - began));
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (count == 4 && !strcmp(words[1], "serve")) serve(words[2], atoi(words[3]));
    else if (count == 7 && !strcmp(words[1], "ask"))
        ask(place(words[2], words[3]), atol(words[4]), atof(words[5]), atoi(words[6]));
    else if (count == 3 && !strcmp(words[1], "sink")) sink(words[2]);
    else if (count == 5 && !strcmp(words[1], "push")) push(place(words[2], words[3]), atof(words[4]));
    else return 2;
    return 0;
}
