#include "mgmt/vmmctl/rest.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define URL_SIZE 512
#define ANSWER_MAX (64u * 1024 * 1024)
#define CONNECT_SECONDS 10 /* behind others who want to connect */

/* One request, from its connection to its answer. */
struct call {
	const struct rest *rest;
	CURL *curl;
	int connect_errno;
};

struct body {
	char *data;
	size_t len;
};

static size_t body_append(char *data, size_t size, size_t count, void *opaque)
{
	struct body *body = opaque;
	char *grown;

	if (body->len + count > ANSWER_MAX)
		return 0;
	grown = realloc(body->data, body->len + count + 1);
	if (!grown)
		return 0;
	memcpy(grown + body->len, data, count);
	body->data = grown;
	body->len += count;
	grown[body->len] = '\0';
	return count;
}

/*
 * libcurl neither waits where many want to connect nor tells why it could not, and 7.88 cannot be
 * given a connected socket: so one of our own finds out first.
 */
static curl_socket_t call_open_socket(void *opaque, curlsocktype purpose,
				      struct curl_sockaddr *ignored)
{
	const struct timeval patience = { .tv_sec = CONNECT_SECONDS };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct call *call = opaque;
	int fd;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", call->rest->socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		close(fd);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			return fd;
	}
	call->connect_errno = errno;
	if (fd >= 0)
		close(fd);
	return CURL_SOCKET_BAD;
}

static bool call_prepare(struct call *call, const struct rest *rest, const char *path)
{
	CURL *curl = curl_easy_init();
	char url[URL_SIZE];

	*call = (struct call){ .rest = rest, .curl = curl };
	snprintf(url, sizeof(url), "http://localhost%s", path);
	/* Without its socket it would ask whoever has port 80. */
	return curl && curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, rest->socket) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, call_open_socket) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, call) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
}

static long call_status(const struct call *call)
{
	long status = 0;

	curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* The socket was wanted: what was found, and what to do. */
static int call_not_connected(const struct call *call)
{
	const char *path = call->rest->socket;
	long os_error = 0;

	switch (call->connect_errno) {
	case ENOENT:
		fprintf(stderr,
			"vmmctl: there is no socket %s: start vmm-mgmt, or name the api.sock in "
			"its run directory by --socket\n", path);
		break;
	case ECONNREFUSED:
		fprintf(stderr, "vmmctl: nobody listens on %s: vmm-mgmt has ended; start it\n",
			path);
		break;
	case EACCES:
	case EPERM:
		fprintf(stderr, "vmmctl: %s is not for user %u: only root may use it\n", path,
			geteuid());
		break;
	case EAGAIN:
		fprintf(stderr,
			"vmmctl: too many wait to connect to %s, and for %u s none got further: "
			"end some clients, or see what vmm-mgmt is busy with\n",
			path, CONNECT_SECONDS);
		break;
	case 0: /* it was libcurl that came no further */
		curl_easy_getinfo(call->curl, CURLINFO_OS_ERRNO, &os_error);
		fprintf(stderr, "vmmctl: cannot connect to %s: %s\n", path,
			os_error ? strerror((int)os_error) :
				   curl_easy_strerror(CURLE_COULDNT_CONNECT));
		break;
	default:
		fprintf(stderr, "vmmctl: cannot connect to %s: %s\n", path,
			strerror(call->connect_errno));
	}
	return STATUS_UNREACHABLE;
}

/* No answer, or not all of it. */
static int call_failed(const struct call *call, CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		fprintf(stderr, "vmmctl: no socket can be called %s: it is too long\n",
			call->rest->socket);
		return STATUS_UNREACHABLE;
	case CURLE_COULDNT_CONNECT:
		return call_not_connected(call);
	case CURLE_WRITE_ERROR:
		fprintf(stderr, "vmmctl: the answer finds no place: it may have %u MiB at most, "
			"and memory or standard output take it\n", ANSWER_MAX >> 20);
		return STATUS_REFUSED;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
		fprintf(stderr, "vmmctl: vmm-mgmt closed %s before a whole answer came: it has "
			"ended, or has too many clients; try again\n", call->rest->socket);
		return STATUS_UNREACHABLE;
	default:
		fprintf(stderr, "vmmctl: no answer on %s: %s\n", call->rest->socket,
			curl_easy_strerror(code));
		return STATUS_UNREACHABLE;
	}
}

/* RFC 9457, on one line. */
static int rest_refused(long status, const json_t *problem)
{
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *field = json_string_value(json_object_get(problem, "field"));

	/* Most details begin with the field; say it once. */
	if (field && detail && strncmp(detail, field, strlen(field)) != 0)
		fprintf(stderr, "vmmctl: %s: %s\n", field, detail);
	else if (detail)
		fprintf(stderr, "vmmctl: %s\n", detail);
	else
		fprintf(stderr, "vmmctl: refused with HTTP status %ld and no reason: does another "
			"program serve this socket?\n", status);
	return STATUS_REFUSED;
}

int rest_call(const struct rest *rest, const char *method, const char *path, json_t *body,
	      struct rest_answer *answer)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct curl_slist *headers = NULL;
	struct body got = { NULL, 0 };
	CURLcode code = CURLE_OUT_OF_MEMORY;
	struct call call;
	int status;

	*answer = (struct rest_answer){ NULL, NULL };
	headers = curl_slist_append(headers, "Content-Type: application/json");
	if (call_prepare(&call, rest, path) && headers && (text || !body) &&
	    curl_easy_setopt(call.curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
	    (!text || curl_easy_setopt(call.curl, CURLOPT_POSTFIELDS, text) == CURLE_OK)) {
		curl_easy_setopt(call.curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(call.curl, CURLOPT_WRITEFUNCTION, body_append);
		curl_easy_setopt(call.curl, CURLOPT_WRITEDATA, &got);
		code = curl_easy_perform(call.curl);
	}
	answer->text = got.data;
	answer->json = got.data ? json_loads(got.data, 0, NULL) : NULL;
	if (code != CURLE_OK)
		status = call_failed(&call, code);
	else if (call_status(&call) >= 400)
		status = rest_refused(call_status(&call), answer->json);
	else
		status = STATUS_OK;
	if (status != STATUS_OK)
		rest_release(answer);
	json_decref(body);
	free(text);
	curl_slist_free_all(headers);
	curl_easy_cleanup(call.curl);
	return status;
}

void rest_release(struct rest_answer *answer)
{
	json_decref(answer->json);
	free(answer->text);
	*answer = (struct rest_answer){ NULL, NULL };
}

struct follow {
	struct call call;
	struct body refusal;
};

static size_t follow_print(char *data, size_t size, size_t count, void *opaque)
{
	struct follow *follow = opaque;
	size_t done;

	if (call_status(&follow->call) >= 400)
		return body_append(data, size, count, &follow->refusal);
	done = fwrite(data, 1, count, stdout);
	return fflush(stdout) == 0 ? done : 0;
}

int rest_follow(const struct rest *rest, const char *path)
{
	struct follow follow = { 0 };
	CURLcode code = CURLE_OUT_OF_MEMORY;
	json_t *problem;
	int status;

	if (call_prepare(&follow.call, rest, path)) {
		curl_easy_setopt(follow.call.curl, CURLOPT_WRITEFUNCTION, follow_print);
		curl_easy_setopt(follow.call.curl, CURLOPT_WRITEDATA, &follow);
		code = curl_easy_perform(follow.call.curl);
	}
	if (code != CURLE_OK) {
		status = call_failed(&follow.call, code);
	} else if (call_status(&follow.call) >= 400) {
		problem = follow.refusal.data ? json_loads(follow.refusal.data, 0, NULL) : NULL;
		status = rest_refused(call_status(&follow.call), problem);
		json_decref(problem);
	} else {
		fprintf(stderr, "vmmctl: vmm-mgmt has ended\n");
		status = STATUS_UNREACHABLE;
	}
	free(follow.refusal.data);
	curl_easy_cleanup(follow.call.curl);
	return status;
}
