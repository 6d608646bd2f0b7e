#include "mgmt/vmmctl/rest.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#define URL_SIZE 512
#define ANSWER_MAX (64u * 1024 * 1024)

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

static size_t body_print(char *data, size_t size, size_t count, void *opaque)
{
	size_t done = fwrite(data, 1, count, stdout);

	return fflush(stdout) == 0 ? done : 0;
}

static CURL *rest_prepare(const struct rest *rest, const char *path)
{
	CURL *curl = curl_easy_init();
	char url[URL_SIZE];

	snprintf(url, sizeof(url), "http://localhost%s", path);
	/* Without its socket it would ask whoever has port 80. */
	if (curl && curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, rest->socket) == CURLE_OK &&
	    curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
	    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
	    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK)
		return curl;
	curl_easy_cleanup(curl);
	return NULL;
}

static int rest_unreachable(const struct rest *rest, CURLcode code)
{
	fprintf(stderr, "vmmctl: no answer on %s (%s): is vmm-mgmt running, and are you root?\n",
		rest->socket, curl_easy_strerror(code));
	return STATUS_UNREACHABLE;
}

/* RFC 9457, on one line. */
static int rest_refused(long status, const json_t *problem)
{
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *field = json_string_value(json_object_get(problem, "field"));

	/* Most details begin with the field; say it once. */
	if (field && detail && strncmp(detail, field, strlen(field)) != 0)
		fprintf(stderr, "vmmctl: %s: %s\n", field, detail);
	else
		fprintf(stderr, "vmmctl: %s\n", detail ? detail : "refused without a reason");
	return STATUS_REFUSED;
}

int rest_call(const struct rest *rest, const char *method, const char *path, json_t *body,
	      struct rest_answer *answer)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	CURL *curl = rest_prepare(rest, path);
	struct curl_slist *headers = NULL;
	struct body got = { NULL, 0 };
	long status = 0;
	CURLcode code = CURLE_OUT_OF_MEMORY;

	*answer = (struct rest_answer){ NULL, NULL };
	headers = curl_slist_append(headers, "Content-Type: application/json");
	if (curl && headers && curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
	    (!text || curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text) == CURLE_OK)) {
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_append);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
		code = curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	}
	json_decref(body);
	free(text);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	answer->text = got.data;
	answer->json = got.data ? json_loads(got.data, 0, NULL) : NULL;
	if (code == CURLE_OK && status < 400)
		return STATUS_OK;
	code = code == CURLE_OK ? (CURLcode)rest_refused(status, answer->json) :
				  (CURLcode)rest_unreachable(rest, code);
	rest_release(answer);
	return (int)code;
}

void rest_release(struct rest_answer *answer)
{
	json_decref(answer->json);
	free(answer->text);
	*answer = (struct rest_answer){ NULL, NULL };
}

int rest_follow(const struct rest *rest, const char *path)
{
	CURL *curl = rest_prepare(rest, path);
	CURLcode code = CURLE_OUT_OF_MEMORY;

	if (curl) {
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_print);
		code = curl_easy_perform(curl);
	}
	curl_easy_cleanup(curl);
	return code == CURLE_OK ? STATUS_OK : rest_unreachable(rest, code);
}
