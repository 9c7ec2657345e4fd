/* How soon many watchers hear of a change.

   watchers HOST PORT TOKEN WATCHERS RATE SECONDS     watches a ConfigMap's namespace with WATCHERS connections over TLS,
                                                     patches it RATE times a second by one more connection, and prints
                                                     events written, delivered, seconds, p50, p99, worst (ms)

   Each patch carries the moment at which it was sent; a delay runs from there to the reading of the event, so it has
   the whole write in it.  One thread, epoll. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define MARK "\"sent\":\""
enum { ROOM = 1 << 16 };

struct peer { SSL *tls; int fd; size_t kept; char tail[64]; };

static struct sockaddr_in server;
static SSL_CTX *settings;
static const char *token;
static float *delays;
static long heard, most;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static int by_size(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return a < b ? -1 : a > b;
}

static void fail(const char *what) { perror(what); exit(1); }

static struct peer joined(void) {
    struct peer made = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    int yes = 1;
    if (connect(made.fd, (void *)&server, sizeof server)) fail("connect");
    setsockopt(made.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    made.tls = SSL_new(settings);
    SSL_set_fd(made.tls, made.fd);
    if (SSL_connect(made.tls) != 1) fail("TLS");
    return made;
}

static void say(struct peer *to, const char *method, const char *path, const char *body) {
    char text[2048];
    int size = snprintf(text, sizeof text,
                        "%s %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nUser-Agent: bench/1\r\n"
                        "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                        method, path, token, *method == 'P' && method[1] == 'A' ? "application/merge-patch+json" :
                        "application/json", strlen(body), body);
    if (SSL_write(to->tls, text, size) != size) fail("write");
}

static void answered(struct peer *by) {  /* the whole answer, taken in one reading or a few */
    char text[ROOM];
    size_t size = 0;
    for (;;) {
        int more = SSL_read(by->tls, text + size, sizeof text - 1 - size);
        if (more <= 0) fail("read");
        text[size += more] = 0;
        char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
        if (body && length && size >= (body + 4 - text) + (size_t)atol(length + 15)) break;
    }
    if (strncmp(text + 9, "20", 2)) { fprintf(stderr, "%.300s\n", text); exit(1); }
}

static void listen_to(struct peer *from) {
    static char text[ROOM + 64];
    for (;;) {
        memcpy(text, from->tail, from->kept);
        int size = SSL_read(from->tls, text + from->kept, ROOM);
        if (size <= 0) {
            int why = SSL_get_error(from->tls, size);
            if (why == SSL_ERROR_WANT_READ) return;
            fprintf(stderr, "a watch ended (%d)\n", why);
            exit(1);
        }
        size += from->kept;
        char *at = text, *found, *end = text + size;
        double moment = now();
        while ((found = memmem(at, end - at, MARK, strlen(MARK)))) {
            char *stop = memchr(found + strlen(MARK), '"', end - found - strlen(MARK));
            if (!stop) break;
            double sent = strtod(found + strlen(MARK), 0);
            if (sent > 0 && heard < most) delays[heard++] = (moment - sent) * 1e3;
            at = stop;
        }
        from->kept = end - at < 60 ? end - at : 60;
        memcpy(from->tail, end - from->kept, from->kept);
    }
}

int main(int count, char **words) {
    if (count != 7) return 2;
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1) return 2;
    token = words[3];
    int watchers = atoi(words[4]);
    double rate = atof(words[5]), seconds = atof(words[6]);
    settings = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(settings, SSL_VERIFY_NONE, 0);
    SSL_CTX_set_mode(settings, SSL_MODE_RELEASE_BUFFERS);
    long events = rate * seconds;
    delays = calloc(most = events * watchers, sizeof *delays);
    struct peer *all = calloc(watchers, sizeof *all), writer = joined();
    const char *maps = "/api/v1/namespaces/default/configmaps", *one = "/api/v1/namespaces/default/configmaps/told";
    say(&writer, "POST", maps, "{\"metadata\":{\"name\":\"told\"},\"data\":{\"sent\":\"0\"}}");
    answered(&writer);
    int poll = epoll_create1(0);
    for (int each = 0; each < watchers; each++) {
        all[each] = joined();
        say(&all[each], "GET", "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=300&fieldSelector=metadata.name%3Dtold", "");
        fcntl(all[each].fd, F_SETFL, O_NONBLOCK);
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = &all[each]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[each].fd, &wanted);
    }
    struct epoll_event for_writer = {.events = EPOLLIN, .data.ptr = &writer}, ready[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, writer.fd, &for_writer);
    double began = now() + 1.0, ended = began + seconds, last = ended + 10;
    long written = 0;
    int free_to_write = 1;
    while (now() < last && heard < most) {
        double moment = now();
        if (free_to_write && written < events && moment >= began + written / rate) {
            char body[128];
            snprintf(body, sizeof body, "{\"data\":{\"sent\":\"%.6f\"}}", moment);
            say(&writer, "PATCH", one, body);
            written++;
            free_to_write = 0;
        }
        int many = epoll_wait(poll, ready, 256, 1);
        for (int each = 0; each < many; each++) {
            struct peer *who = ready[each].data.ptr;
            if (who == &writer) { answered(&writer); free_to_write = 1; } else listen_to(who);
        }
    }
    double took = now() - began;
    qsort(delays, heard, sizeof *delays, by_size);
    if (!heard) { fprintf(stderr, "no event was heard\n"); return 1; }
    printf("{\"written\": %ld, \"delivered\": %ld, \"expected\": %ld, \"seconds\": %.3f, \"p50\": %.3f, \"p99\": %.3f, "
           "\"worst\": %.3f}\n", written, heard, most, took, delays[heard / 2], delays[heard * 99 / 100], delays[heard - 1]);
    return 0;
}
