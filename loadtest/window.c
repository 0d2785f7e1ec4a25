/* The window driver of sockets.py in C: connections with a number of requests in flight on each.
 *
 * A Python client tops out at about 100 k requests a second from 50 connections, which several servers reach: it would
 * be the client that is measured. This one spends about a microsecond a request, most of it in the kernel.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLOSED = -1, SILENT = -2, NO_ROOM = -3, SYSTEM = -4, EVENTS = 64, SILENCE_MS = 30000 };

struct job {
    const char *requests; /* of equal size, end to end */
    long size, total;
    int depth, chunk; /* a connection sends again once `chunk` of its `depth` have been answered */
    int low_water;    /* bytes below which it is not worth waking up, while there is more to send */
    int64_t *took_ns; /* one a request, in order of arrival */
    char *replies;    /* `room` bytes a connection */
    long room;
    long *received; /* bytes, a connection */
    int end, ends;  /* a reply ends with this byte, and has it so often */
};

struct line {
    int fd;
    long sent, answered; /* requests */
    int seen;            /* ends of a reply that is not whole yet */
    int64_t *sent_at;    /* ring of `depth` */
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int send_all(int fd, const char *at, long bytes) {
    while (bytes > 0) {
        ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) return SYSTEM;
        if (n > 0) at += n, bytes -= n;
    }
    return 0;
}

/* Fill the window as far as there are requests left; `next` is the first that nobody has sent. */
static int refill(const struct job *job, struct line *line, long *next) {
    long room = job->depth - (line->sent - line->answered), left = job->total - *next;
    if (room < job->chunk && left > 0) return 0;
    long count = room < left ? room : left;
    if (count <= 0) return 0;
    int64_t moment = now_ns();
    for (long i = 0; i < count; i++) line->sent_at[(line->sent + i) % job->depth] = moment;
    int failed = send_all(line->fd, job->requests + *next * job->size, count * job->size);
    line->sent += count;
    *next += count;
    return failed;
}

static void set_low_water(const struct line *lines, int n, int bytes) {
    for (int i = 0; i < n; i++) setsockopt(lines[i].fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

/* Take what one connection has; the number of replies, or an error. */
static long take(const struct job *job, struct line *line, int index, int64_t *took_ns) {
    long used = job->received[index];
    char *at = job->replies + index * job->room + used;
    if (used >= job->room) return NO_ROOM;
    ssize_t n = recv(line->fd, at, job->room - used, 0);
    if (n == 0) return CLOSED;
    if (n < 0) return errno == EINTR ? 0 : SYSTEM;
    job->received[index] += n;
    int64_t moment = now_ns();
    long count = 0;
    for (char *end = at + n; (at = memchr(at, job->end, end - at)) != NULL; at++) {
        if (++line->seen < job->ends) continue;
        line->seen = 0;
        took_ns[count] = moment - line->sent_at[(line->answered + count) % job->depth];
        count++;
    }
    line->answered += count;
    return count;
}

static int drive(const struct job *job, struct line *lines, int n, int poll) {
    struct epoll_event ready[EVENTS];
    long next = 0, done = 0;
    int failed, last = 0;
    for (int i = 0; i < n; i++)
        if ((failed = refill(job, &lines[i], &next))) return failed;
    while (done < job->total) {
        if (next == job->total && !last) set_low_water(lines, n, last = 1);
        int count = epoll_wait(poll, ready, EVENTS, SILENCE_MS);
        if (count == 0) return SILENT;
        if (count < 0 && errno != EINTR) return SYSTEM;
        for (int k = 0; k < count; k++) {
            int index = ready[k].data.u32;
            long replies = take(job, &lines[index], index, job->took_ns + done);
            if (replies < 0) return replies;
            done += replies;
            if ((failed = refill(job, &lines[index], &next))) return failed;
        }
    }
    return 0;
}

/* Run a job on connected, blocking sockets; 0, or one of the errors above. */
int window_run(const struct job *job, const int *fds, int n, int64_t *elapsed_ns) {
    int poll = epoll_create1(EPOLL_CLOEXEC), result = SYSTEM;
    struct line *lines = calloc(n, sizeof *lines);
    int64_t *rings = calloc((size_t)n * job->depth, sizeof *rings);
    if (poll >= 0 && lines && rings) {
        for (int i = 0; i < n; i++) {
            struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
            lines[i] = (struct line){.fd = fds[i], .sent_at = rings + (long)i * job->depth};
            epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event);
        }
        set_low_water(lines, n, job->low_water);
        int64_t start = now_ns();
        result = drive(job, lines, n, poll);
        *elapsed_ns = now_ns() - start;
    }
    free(lines), free(rings);
    if (poll >= 0) close(poll);
    return result;
}
